"use strict";
(() => {
  const BATCH = 12;
  const data = JSON.parse(document.getElementById("gallery-data").textContent);
  const form = document.getElementById("filters");
  if (!form) return;
  const list = document.getElementById("samples");
  const status = document.getElementById("status");
  const more = document.getElementById("more");
  const field = (name) => form.elements.namedItem(name);
  let chosen = [];
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
    for (const [style, lineWidth] of [["#000", 4], ["#00e060", 2]]) {
      context.strokeStyle = style;
      context.lineWidth = lineWidth;
      for (const [x1, y1, x2, y2] of boxes) context.strokeRect(x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height);
    }
  };
  const describeScores = (scores) => {
    const texts = [];
    if (scores?.ciou !== undefined) texts.push(`cIoU ${scores.ciou.toFixed(2)}`);
    if (scores?.adaptive_ciou !== undefined && scores.adaptive_ciou !== scores.ciou) {
      texts.push(`adaptive ${scores.adaptive_ciou.toFixed(2)}`);
    }
    if (scores?.pointing !== undefined) {
      texts.push(scores.pointing === 1 ? "points inside" : scores.pointing === 0 ? "points outside" : `pointing ${scores.pointing.toFixed(2)}`);
    }
    return texts.join(", ");
  };

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
      if (!image.src) image.src = `data:image/webp;base64,${sample[image.dataset.picture]}`;
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

  const figure = (picture, title, note, className = "") =>
    make("figure", { className }, picture, make("figcaption", {}, title, make("span", { className: "muted" }, note)));

  const makeCard = (sample) => {
    const views = make("div", { className: "views" });
    const numBoxes = `${sample.boxes.length} ${sample.boxes.length === 1 ? "box" : "boxes"}`;
    const canvasOf = (label) => make("canvas", { role: "img", "aria-label": label, width: 320, height: 240 });
    if (sample.frame) {
      views.append(figure(canvasOf(`Frame of ${sample.id} with ${numBoxes} of what sounds`), "Frame", numBoxes, "first"));
    }
    for (const model of data.models) {
      if (!sample.maps[model] || !isModelShown(model)) continue;
      const text = describeScores(sample.scores[model]) || "not scored";
      const canvas = canvasOf(`Map of ${model} over the frame of ${sample.id}: ${text}`);
      canvas.dataset.model = model;
      views.append(figure(canvas, model, sample.maps[model].note ? `${text}; map ${sample.maps[model].note}` : text));
    }
    if (sample.flow) {
      const note = `full colour: ${sample.flow_scale} px`;
      const image = make("img", { alt: `Motion between two frames of ${sample.id}, ${note}` });
      image.dataset.picture = "flow";
      views.append(figure(image, "Flow", note));
    }
    if (sample.spectrogram) {
      const image = make("img", { alt: `Spectrogram of the sound of ${sample.id}, low frequencies at the bottom` });
      image.dataset.picture = "spectrogram";
      views.append(figure(image, "Spectrogram", "time to the right, frequency up"));
    }
    const facts = [sample.dataset, sample.subsets.join(", "), sample.label && `class ${sample.label}`];
    if (sample.time !== null) facts.push(`at ${sample.time} s of clip ${sample.clip}`);
    facts.push(...sample.facts);
    const node = make("li", { className: "sample" }, make("h3", {}, sample.id));
    if (sample.roles.length) {
      node.append(make("ul", { className: "roles" }, ...sample.roles.map((role) => make("li", { className: "mark" }, role))));
    }
    node.append(make("p", { className: "facts-line" }, facts.filter(Boolean).join(" · ")), views);
    if (sample.sound) node.append(make("audio", { controls: true, preload: "none", "aria-label": `Sound of ${sample.id}` }));
    if (sample.absent.length) node.append(make("p", { className: "facts-line" }, `Not shown: ${sample.absent.join("; ")}`));
    node.dataset.id = sample.id;
    node.card = { sample, node };
    return node;
  };
  const isModelShown = (model) => {
    const box = [...form.querySelectorAll("input[name=model]")].find((input) => input.value === model);
    return !box || box.checked;
  };

  const showMore = () => {
    const nodes = chosen.slice(numShown, numShown + BATCH).map(makeCard);
    list.append(...nodes);
    nodes.forEach((node) => watcher.observe(node));
    numShown += nodes.length;
    more.hidden = numShown >= chosen.length;
    more.textContent = `Show ${Math.min(BATCH, chosen.length - numShown)} more`;
    status.textContent = `${chosen.length} of ${data.samples.length} samples match, ${numShown} shown`;
    return nodes;
  };

  const scoreOf = (sample) => sample.scores[field("score-model")?.value]?.[field("score-name")?.value];
  const apply = () => {
    const dataset = field("dataset").value;
    const subset = field("subset").value;
    const label = field("class").value;
    const words = field("search").value.trim().toLowerCase();
    const [low, high] = [field("low")?.valueAsNumber ?? NaN, field("high")?.valueAsNumber ?? NaN];
    const hasRange = !Number.isNaN(low) || !Number.isNaN(high);
    chosen = data.samples.filter((sample) => {
      if (dataset && sample.dataset !== dataset) return false;
      if (subset && !sample.subsets.includes(subset)) return false;
      if (label && sample.label !== label) return false;
      if (words && !`${sample.id} ${sample.label} ${sample.clip}`.toLowerCase().includes(words)) return false;
      const score = scoreOf(sample);
      if (hasRange && (score === undefined || score < low || score > high)) return false;
      return true;
    });
    const order = field("order").value;
    const value = (sample, absent) => scoreOf(sample) ?? absent;
    if (order === "best") chosen.sort((a, b) => value(b, -1) - value(a, -1) || (a.id < b.id ? -1 : 1));
    else if (order === "worst") chosen.sort((a, b) => value(a, 2) - value(b, 2) || (a.id < b.id ? -1 : 1));
    else if (order === "id") chosen.sort((a, b) => (a.id < b.id ? -1 : 1));
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
      nodes[0].tabIndex = -1;
      nodes[0].focus({ preventScroll: true });
    }
  });
  apply();
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((node) => { node.open = true; });
    list.querySelectorAll("li").forEach((node) => paint(node.card));
  });
  window.addEventListener("afterprint", () => opened.forEach((node) => { node.open = false; }));
})();
