// The gallery: filters samples, draws their cards as they come near the view, opens all for print.
"use strict";
(() => {
  const BATCH = 12; // cards that are added at a time
  const data = JSON.parse(document.getElementById("gallery-data").textContent);
  const form = document.getElementById("filters");
  if (!form) return; // there are no samples
  const list = document.getElementById("samples");
  const status = document.getElementById("status");
  const more = document.getElementById("more");
  const field = (name) => form.elements.namedItem(name);
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

  // Turbo colour map (Mikhailov, 2019), polynomial approximation: dark blue is low, red is high.
  const turbo = (x) => {
    const powers = [1, x, x * x, x ** 3, x ** 4, x ** 5];
    const dot = (weights) => weights.reduce((sum, weight, i) => sum + weight * powers[i], 0);
    return [
      dot([0.13572138, 4.6153926, -42.66032258, 132.13108234, -152.94239396, 59.28637943]),
      dot([0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604]),
      dot([0.1066733, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973]),
    ].map((value) => Math.max(0, Math.min(255, 255 * value)));
  };

  const drawMap = (context, map, width, height) => {
    const values = bytesOf(map.data);
    const image = new ImageData(map.w, map.h);
    values.forEach((value, i) => image.data.set([...turbo(value / 255), 255], 4 * i));

    const small = make("canvas", { width: map.w, height: map.h });
    small.getContext("2d").putImageData(image, 0, 0);
    context.globalAlpha = 0.55;
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    // half a cell is repeated at the edges, so that the middle of a cell lies where the map has it
    context.drawImage(small, 0, 0, map.w, map.h, 0, 0, width, height);
    context.globalAlpha = 1;
  };

  const drawBoxes = (context, boxes, width, height) => {
    // a green line on a wider black one is seen on any picture
    for (const [style, lineWidth] of [["#000", 4], ["#00e060", 2]]) {
      context.strokeStyle = style;
      context.lineWidth = lineWidth;
      for (const [x1, y1, x2, y2] of boxes) {
        context.strokeRect(x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height);
      }
    }
  };

  // Fill a card's canvases, pictures and sound; until then it holds none of them decoded.
  const paint = async (card) => {
    const sample = card.sample;
    let frame = null;
    if (sample.frame) {
      frame = new Image();
      frame.src = `data:image/webp;base64,${sample.frame}`;
      await frame.decode();
    }

    const [width, height] = sample.size || [320, 240];
    for (const canvas of card.node.querySelectorAll("canvas")) {
      canvas.width = width;
      canvas.height = height;
      const context = canvas.getContext("2d");
      context.fillStyle = "#444";
      context.fillRect(0, 0, width, height);
      if (frame) context.drawImage(frame, 0, 0, width, height);

      const map = sample.maps[canvas.dataset.model];
      if (map) {
        context.fillStyle = "rgba(0,0,0,.25)";
        context.fillRect(0, 0, width, height);
        drawMap(context, map, width, height);
      }
      if (field("boxes").checked) drawBoxes(context, sample.boxes, width, height);
      canvas.dataset.painted = "yes";
    }

    for (const image of card.node.querySelectorAll("img[data-picture]")) {
      const picture = sample[image.dataset.picture];
      if (!image.src) image.src = `data:image/webp;base64,${picture}`;
    }
    const audio = card.node.querySelector("audio");
    if (audio && !audio.src) audio.src = `data:audio/mpeg;base64,${sample.sound}`;
  };

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

  // ---- Cards

  const describePointing = (value) => {
    if (value === 1) return "points inside";
    if (value === 0) return "points outside";
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
  const canvasOf = (label) =>
    make("canvas", { role: "img", "aria-label": label, width: 320, height: 240 });
  const imageOf = (picture, alt) => {
    const image = make("img", { alt });
    image.dataset.picture = picture;
    return image;
  };
  const isModelShown = (model) => {
    const boxes = [...form.querySelectorAll("input[name=model]")];
    const box = boxes.find((input) => input.value === model);
    return !box || box.checked;
  };

  // Frame, maps, flow and spectrogram of a sample, each with its caption.
  const makeViews = (sample) => {
    const views = make("div", { className: "views" });
    if (sample.frame) {
      const numBoxes = `${sample.boxes.length} ${sample.boxes.length === 1 ? "box" : "boxes"}`;
      const canvas = canvasOf(`Frame of ${sample.id} with ${numBoxes} of what sounds`);
      views.append(figure(canvas, "Frame", numBoxes, "first"));
    }
    for (const model of data.models) {
      const map = sample.maps[model];
      if (!map || !isModelShown(model)) continue;
      const text = describeScores(sample.scores[model]) || "not scored";
      const canvas = canvasOf(`Map of ${model} over the frame of ${sample.id}: ${text}`);
      canvas.dataset.model = model;
      views.append(figure(canvas, model, map.note ? `${text}; map ${map.note}` : text));
    }
    if (sample.flow) {
      const note = `full colour: ${sample.flow_scale} px`;
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

  const showMore = () => {
    const nodes = chosen.slice(numShown, numShown + BATCH).map(makeCard);
    list.append(...nodes);
    nodes.forEach((node) => watcher.observe(node));
    numShown += nodes.length;
    more.hidden = numShown >= chosen.length;
    more.textContent = `Show ${Math.min(BATCH, chosen.length - numShown)} more`;
    const { length } = data.samples;
    status.textContent = `${chosen.length} of ${length} samples match, ${numShown} shown`;
    return nodes;
  };

  // ---- Filters

  const scoreOf = (sample) =>
    sample.scores[field("score-model")?.value]?.[field("score-name")?.value];

  const isChosen = (sample) => {
    const names = ["dataset", "subset", "class"];
    const [dataset, subset, label] = names.map((name) => field(name).value);
    if (dataset && sample.dataset !== dataset) return false;
    if (subset && !sample.subsets.includes(subset)) return false;
    if (label && sample.label !== label) return false;

    const words = field("search").value.trim().toLowerCase();
    const text = `${sample.id} ${sample.label} ${sample.clip}`.toLowerCase();
    if (words && !text.includes(words)) return false;

    // an empty field is NaN, to which no number compares
    const [low, high] = [field("low")?.valueAsNumber ?? NaN, field("high")?.valueAsNumber ?? NaN];
    const hasRange = !Number.isNaN(low) || !Number.isNaN(high);
    const score = scoreOf(sample);
    return !(hasRange && (score === undefined || score < low || score > high));
  };

  const apply = () => {
    chosen = data.samples.filter(isChosen);
    const order = field("order").value;
    const byId = (a, b) => (a.id < b.id ? -1 : 1);
    // samples without a score come last
    const value = (sample, absent) => scoreOf(sample) ?? absent;
    if (order === "best") chosen.sort((a, b) => value(b, -1) - value(a, -1) || byId(a, b));
    else if (order === "worst") chosen.sort((a, b) => value(a, 2) - value(b, 2) || byId(a, b));
    else if (order === "id") chosen.sort(byId);

    watcher.disconnect();
    list.replaceChildren();
    numShown = 0;
    showMore();
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", apply);
  document.getElementById("clear-filters").addEventListener("click", () => {
    form.reset();
    apply();
  });
  more.addEventListener("click", () => {
    const nodes = showMore();
    if (nodes.length) {
      // the keyboard goes on at the first new card
      nodes[0].tabIndex = -1;
      nodes[0].focus({ preventScroll: true });
    }
  });
  apply();

  // ---- Print: what is folded is opened, and all cards are painted

  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((node) => { node.open = true; });
    list.querySelectorAll("li").forEach((node) => paint(node.card));
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((node) => { node.open = false; });
  });
})();
