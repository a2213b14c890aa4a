// The gallery: filters samples, draws their cards, keeps its state in the address, prints.
"use strict";
(() => {
  // cards that are added at a time: a card is higher than a phone
  const BATCH = matchMedia("(max-width: 30rem)").matches ? 4 : 12;
  const NUM_IDLE = 60; // cards that are drawn before they are seen, so that a print has them
  const GRID = 224; // of outlines
  const TRUTH_COLOUR = "#00e060"; // of annotated boxes and masks
  const data = JSON.parse(document.getElementById("gallery-data").textContent);
  const form = document.getElementById("filters");
  if (!form) return; // there are no samples
  const byId = (name) => document.getElementById(name);
  const [list, status, more, all] = ["samples", "status", "more", "all"].map(byId);
  const field = (name) => form.elements.namedItem(name);
  const isOn = (name) => field(name)?.checked ?? false;
  let chosen = []; // samples that the filters let through, in order
  let numShown = 0;

  const make = (tag, properties = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  };
  const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

  // ---- Drawing

  // The colours of pipeline/features/pictures.py: low values are clear, high ones bright.
  const { colours, opacity } = data.heat;
  const colourOf = (value) => {
    const place = value * (colours.length - 1);
    const [low, high] = [colours[Math.floor(place)], colours[Math.ceil(place)]];
    const mixed = low.map((channel, i) => channel + (high[i] - channel) * (place % 1));
    return [...mixed, 255 * opacity * value];
  };
  const palette = Array.from({ length: 256 }, (_, value) => colourOf(value / 255));

  const drawMap = (context, map, width, height) => {
    const image = new ImageData(map.w, map.h);
    bytesOf(map.data).forEach((value, i) => image.data.set(palette[value], 4 * i));

    const small = make("canvas", { width: map.w, height: map.h });
    small.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    // half a cell is repeated at the edges, so that the middle of a cell lies where the map has it
    context.drawImage(small, 0, 0, map.w, map.h, 0, 0, width, height);
  };

  // A bright line on a wider black one is seen on any picture.
  const strokeTwice = (context, colour, draw) => {
    for (const [style, lineWidth] of [["#000", 3.5], [colour, 1.8]]) {
      context.strokeStyle = style;
      context.lineWidth = lineWidth;
      draw();
    }
  };

  const drawOutline = (context, outline, width, height, colour = "#fff") => {
    const path = new Path2D();
    path.addPath(new Path2D(outline), new DOMMatrix([width / GRID, 0, 0, height / GRID, 0, 0]));
    strokeTwice(context, colour, () => context.stroke(path));
  };

  const drawBoxes = (context, boxes, width, height) =>
    strokeTwice(context, TRUTH_COLOUR, () => {
      for (const [x1, y1, x2, y2] of boxes) {
        context.strokeRect(x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height);
      }
    });

  const paintCanvas = (canvas, sample, frame) => {
    const [width, height] = sample.size || [320, 240];
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    context.fillStyle = "#444";
    context.fillRect(0, 0, width, height);
    if (frame) context.drawImage(frame, 0, 0, width, height);

    const map = sample.maps[canvas.dataset.model];
    if (map) drawMap(context, map, width, height);
    if (map?.outline && isOn("outlines")) drawOutline(context, map.outline, width, height);
    if (isOn("boxes")) drawBoxes(context, sample.boxes, width, height);
    if (isOn("boxes") && sample.mask) {
      drawOutline(context, sample.mask, width, height, TRUTH_COLOUR);
    }
    canvas.dataset.painted = "yes";
  };

  // Fill a card's canvases, pictures and sound; until then it holds none of them decoded.
  const fill = async ({ sample, node }) => {
    const frame = sample.frame ? new Image() : null;
    if (frame) {
      frame.src = `data:image/webp;base64,${sample.frame}`;
      await frame.decode();
    }
    node.querySelectorAll("canvas").forEach((canvas) => paintCanvas(canvas, sample, frame));

    const waits = [...node.querySelectorAll("img[data-picture]")].map((image) => {
      image.src = `data:image/webp;base64,${sample[image.dataset.picture]}`;
      return image.decode();
    });
    const audio = node.querySelector("audio");
    if (audio) audio.src = `data:audio/mpeg;base64,${sample.sound}`;
    await Promise.all(waits);
  };
  const paint = (card) => (card.painting ??= fill(card));

  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        watcher.unobserve(entry.target);
        paint(entry.target.card);
      }
    },
    { rootMargin: "400px" },
  );

  // When nothing else is to do, cards are drawn before they are seen: a print cannot wait for them.
  const whenIdle = window.requestIdleCallback ?? ((action) => setTimeout(action, 200));
  let isIdling = false;
  const paintIdly = () => {
    if (isIdling) return;
    isIdling = true;
    whenIdle(async () => {
      isIdling = false;
      const nodes = [...list.children].slice(0, NUM_IDLE);
      const next = nodes.find((node) => !node.card.painting);
      if (!next) return;
      await paint(next.card);
      paintIdly();
    });
  };

  // ---- Cards

  const describePointing = (value) => {
    if (value === 1) return "peak inside";
    if (value === 0) return "peak outside the box";
    return `pointing ${value.toFixed(2)}`; // a map with several highest values
  };
  const describeScores = (scores) => {
    const texts = [];
    if (scores?.ciou !== undefined) texts.push(`cIoU ${scores.ciou.toFixed(2)}`);
    if (scores?.adaptive_ciou !== undefined && scores.adaptive_ciou !== scores.ciou) {
      texts.push(`adaptive ${scores.adaptive_ciou.toFixed(2)}`);
    }
    if (scores?.pointing !== undefined) texts.push(describePointing(scores.pointing));
    return texts.join(", ");
  };

  const figure = (picture, title, note, className = "") => {
    const small = make("span", { className: "muted" }, note);
    return make("figure", { className }, picture, make("figcaption", {}, title, small));
  };
  const canvasOf = (sample, label) => {
    const [width, height] = sample.size || [320, 240];
    return make("canvas", { role: "img", "aria-label": label, width, height });
  };
  const imageOf = (picture, alt) => {
    const image = make("img", { alt });
    image.dataset.picture = picture;
    return image;
  };
  const modelBoxes = [...form.querySelectorAll("input[name=model]")];
  const isModelShown = (model) =>
    modelBoxes.find((input) => input.value === model)?.checked ?? true;

  // Frame, maps, flow and spectrogram of a sample, each with its caption.
  const makeViews = (sample) => {
    const views = make("div", { className: "views" });
    if (sample.frame) {
      const numBoxes = `${sample.boxes.length} ${sample.boxes.length === 1 ? "box" : "boxes"}`;
      const truth = sample.mask ? "a mask" : sample.boxes.length ? numBoxes : "no boxes";
      const canvas = canvasOf(sample, `Frame of ${sample.id} with ${truth} of what sounds`);
      views.append(figure(canvas, "Frame", truth, "first"));
    }
    for (const model of data.models) {
      const map = sample.maps[model];
      if (!map || !isModelShown(model)) continue;
      const text = describeScores(sample.scores[model]) || "not scored";
      const canvas = canvasOf(sample, `Map of ${model} over the frame of ${sample.id}: ${text}`);
      canvas.dataset.model = model;
      views.append(figure(canvas, model, map.note ? `${text}; map ${map.note}` : text));
    }
    if (sample.flow) {
      const note = `strongest motion shown: ${sample.flow_scale.toFixed(1)} px`;
      const image = imageOf("flow", `Motion between two frames of ${sample.id}, ${note}`);
      views.append(figure(image, "Flow", note));
    }
    if (sample.spectrogram) {
      const alt = `Spectrogram of the sound of ${sample.id}, low frequencies at the bottom`;
      const note = "time to the right, frequency up";
      views.append(figure(imageOf("spectrogram", alt), "Spectrogram", note));
    }
    return views;
  };

  const makeCard = (sample) => {
    const node = make("li", { className: "sample" }, make("h3", {}, sample.id));
    if (sample.roles.length) {
      const roles = sample.roles.map((role) => make("li", { className: "mark" }, role));
      node.append(make("ul", { className: "roles" }, ...roles));
    }

    const label = sample.label && `class ${sample.label}`;
    const facts = [sample.dataset, sample.subsets.join(", "), label];
    if (sample.time !== null) facts.push(`at ${sample.time} s of clip ${sample.clip}`);
    facts.push(...sample.facts);
    const line = facts.filter(Boolean).join(" · ");
    node.append(make("p", { className: "facts-line" }, line), makeViews(sample));

    if (sample.sound) {
      const name = `Sound of ${sample.id}`;
      node.append(make("audio", { controls: true, preload: "none", "aria-label": name }));
    }
    if (sample.absent.length) {
      const absent = `Not shown: ${sample.absent.join("; ")}`;
      node.append(make("p", { className: "facts-line" }, absent));
    }
    node.dataset.id = sample.id;
    node.card = { sample, node };
    return node;
  };

  const showMore = (number = BATCH) => {
    const nodes = chosen.slice(numShown, numShown + number).map(makeCard);
    list.append(...nodes);
    nodes.forEach((node) => watcher.observe(node));
    numShown += nodes.length;

    const numLeft = chosen.length - numShown;
    more.hidden = numLeft === 0;
    all.hidden = numLeft <= BATCH;
    more.textContent = `Show ${Math.min(BATCH, numLeft)} more`;
    all.textContent = `Show all ${chosen.length}`;
    paintIdly();
    return nodes;
  };

  // ---- Filters

  const scoreOf = (sample) =>
    sample.scores[field("score-model")?.value]?.[field("score-name")?.value];
  const isRight = (sample, model) => {
    const ciou = sample.scores[model]?.ciou;
    return ciou === undefined ? null : ciou >= data.success;
  };
  // a number outside of the field's range counts as none
  const isUnusable = ({ validity }) =>
    validity.rangeUnderflow || validity.rangeOverflow || validity.badInput;
  const numberIn = (name) => {
    const input = field(name);
    return input && !isUnusable(input) ? input.valueAsNumber : NaN;
  };

  // Each filter that is set: what it says, and which samples it lets through.
  const collectFilters = () => {
    const filters = [];
    const add = (text, test) => filters.push({ text, test });
    const value = (name) => field(name)?.value ?? "";

    const [dataset, subset, label] = ["dataset", "subset", "class"].map(value);
    if (dataset) add(`dataset ${dataset}`, (sample) => sample.dataset === dataset);
    if (subset) add(`subset ${subset}`, (sample) => sample.subsets.includes(subset));
    if (label) add(`class ${label}`, (sample) => sample.label.split("+").includes(label));

    const [wrong, right] = [value("wrong"), value("right")];
    if (wrong) add(`${wrong} wrong`, (sample) => isRight(sample, wrong) === false);
    if (right) add(`${right} right`, (sample) => isRight(sample, right) === true);

    const words = value("search").trim().toLowerCase();
    const textOf = ({ id, label: name, clip }) => `${id} ${name} ${clip}`.toLowerCase();
    if (words) add(`"${words}"`, (sample) => textOf(sample).includes(words));

    const [low, high] = [numberIn("low"), numberIn("high")];
    const model = value("score-model");
    if (!Number.isNaN(low)) add(`${model} at least ${low}`, (sample) => scoreOf(sample) >= low);
    if (!Number.isNaN(high)) add(`${model} at most ${high}`, (sample) => scoreOf(sample) <= high);
    return filters;
  };

  const describeStatus = (filters) => {
    const because = filters.length ? `: ${filters.map((filter) => filter.text).join(", ")}` : "";
    const invalid = ["low", "high"].some((name) => field(name) && isUnusable(field(name)));
    const note = invalid ? " Scores lie between 0 and 1: that field is not used." : "";
    return `${chosen.length} of ${data.samples.length} samples match${because}.${note}`;
  };

  const apply = () => {
    const filters = collectFilters();
    chosen = data.samples.filter((sample) => filters.every((filter) => filter.test(sample)));
    const order = field("order").value;
    const inOrder = (a, b) => (a.id < b.id ? -1 : 1);
    // samples without a score come last
    const value = (sample, absent) => scoreOf(sample) ?? absent;
    if (order === "best") chosen.sort((a, b) => value(b, -1) - value(a, -1) || inOrder(a, b));
    else if (order === "worst") chosen.sort((a, b) => value(a, 2) - value(b, 2) || inOrder(a, b));
    else if (order === "id") chosen.sort(inOrder);

    watcher.disconnect();
    list.replaceChildren();
    numShown = 0;
    showMore();
    status.textContent = describeStatus(filters);
    byId("clear-all").hidden = filters.length === 0;
  };

  // ---- State in the address: #gallery?subset=single&wrong=htf

  const MARK = "#gallery?";
  const names = [...new Set([...form.elements].map((input) => input.name))].filter(
    (name) => name && name !== "model" && !(field(name) instanceof RadioNodeList),
  );
  const isDefault = (input) => {
    if (input.type === "checkbox") return input.checked === input.defaultChecked;
    if (input.tagName === "SELECT") return input.selectedIndex === 0;
    return input.value === "";
  };

  const writeState = () => {
    const state = new URLSearchParams();
    for (const name of names) {
      const input = field(name);
      const value = input.type === "checkbox" ? Number(input.checked) : input.value;
      if (!isDefault(input)) state.set(name, value);
    }
    if (!modelBoxes.every(isDefault)) {
      const shown = modelBoxes.filter((input) => input.checked).map((input) => input.value);
      state.set("maps", JSON.stringify(shown));
    }
    const text = state.toString();
    try {
      history.replaceState(null, "", text ? MARK + text : "#gallery");
    } catch {
      // some browsers let no page of a file change its address
    }
  };

  const readState = () => {
    if (!location.hash.startsWith(MARK)) return false;
    const state = new URLSearchParams(location.hash.slice(MARK.length));
    form.reset();
    for (const name of names) {
      const input = field(name);
      if (!state.has(name)) continue;
      if (input.type === "checkbox") input.checked = state.get(name) === "1";
      else input.value = state.get(name);
      // a value that this page does not have
      if (input.tagName === "SELECT" && input.selectedIndex < 0) input.selectedIndex = 0;
    }
    if (state.has("maps")) {
      const shown = state.get("maps");
      modelBoxes.forEach((input) => {
        input.checked = shown.includes(JSON.stringify(input.value));
      });
    }
    apply();
    byId(state.has("search") ? "samples" : "gallery").scrollIntoView();
    return true;
  };

  // ---- Events

  const reset = () => {
    form.reset();
    apply();
    writeState();
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    apply();
    writeState();
  });
  byId("clear-filters").addEventListener("click", reset);
  byId("clear-all").addEventListener("click", reset);

  const goOn = (nodes) => {
    if (!nodes.length) return;
    // the keyboard goes on at the first new card
    nodes[0].tabIndex = -1;
    nodes[0].focus({ preventScroll: true });
  };
  more.addEventListener("click", () => goOn(showMore()));
  all.addEventListener("click", () => goOn(showMore(Infinity)));
  byId("print").addEventListener("click", async () => {
    await Promise.all([...list.children].map((node) => paint(node.card)));
    window.print();
  });

  const limit = byId("success-limit");
  if (limit) limit.textContent = data.success;
  if (!readState()) apply();
  window.addEventListener("hashchange", readState);
  window.addEventListener("beforeprint", () => {
    [...list.children].forEach((node) => paint(node.card));
  });
})();
