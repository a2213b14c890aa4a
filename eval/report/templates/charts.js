// Charts: the values at the pointer, and buttons that save a chart. Both work without this file:
// points have the browser's own tooltips, and the numbers stand in tables.
"use strict";
(() => {
  const NAMESPACE = "http://www.w3.org/2000/svg";
  const STYLES = [
    "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "fill", "paint-order",
    "font-size", "font-family", "font-weight",
  ];

  // ---- Values at the pointer

  const tooltip = document.createElement("div");
  tooltip.className = "tooltip";
  tooltip.hidden = true;
  document.body.append(tooltip);

  const takeTips = (svg) =>
    [...svg.querySelectorAll(".tip")].map((node) => {
      const title = node.querySelector("title");
      const text = title.textContent;
      title.remove(); // the browser's tooltip would come late and cover this one
      return { node, text, x: Number(node.getAttribute("cx")), y: Number(node.getAttribute("cy")) };
    });

  const showTips = (svg, tips, event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const nearest = Math.min(...tips.map((tip) => Math.abs(tip.x - x)));
    const chosen = tips.filter((tip) => Math.abs(tip.x - x) <= nearest + 0.01);

    tips.forEach((tip) => tip.node.classList.toggle("near", chosen.includes(tip)));
    const lines = [...chosen].sort((a, b) => a.y - b.y).map((tip) => {
      const line = document.createElement("div");
      line.textContent = tip.text;
      line.style.borderColor = tip.node.style.color;
      return line;
    });
    tooltip.replaceChildren(...lines);
    tooltip.hidden = false;

    const room = document.documentElement.clientWidth - tooltip.offsetWidth - 8;
    tooltip.style.left = `${Math.max(4, Math.min(event.clientX + 14, room))}px`;
    tooltip.style.top = `${event.clientY + 16}px`;
  };

  const hideTips = (tips) => {
    tooltip.hidden = true;
    tips.forEach((tip) => tip.node.classList.remove("near"));
  };

  // ---- Saving

  const makeSvg = (tag, attributes, text = "") => {
    const node = document.createElementNS(NAMESPACE, tag);
    Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
    node.textContent = text;
    return node;
  };

  // A copy of the chart that needs no style sheet, with its title above and its legend below.
  const copyChart = (figure) => {
    const svg = figure.querySelector("svg");
    const copy = svg.cloneNode(true);
    const originals = svg.querySelectorAll("*");
    copy.querySelectorAll("*").forEach((node, i) => {
      const style = getComputedStyle(originals[i]);
      STYLES.forEach((name) => node.setAttribute(name, style.getPropertyValue(name)));
      node.removeAttribute("style");
    });
    copy.querySelectorAll(".tip").forEach((node) => node.remove());

    const page = getComputedStyle(document.body);
    const font = { "font-family": page.fontFamily, fill: page.color };
    const entries = [...figure.querySelectorAll(".legend li")];
    const { width, height } = svg.viewBox.baseVal;
    const total = height + 26 + 18 * entries.length;

    const body = makeSvg("g", { transform: "translate(0 26)" });
    body.append(...copy.childNodes);
    const ground = makeSvg("rect", { width, height: total, fill: page.backgroundColor });
    const caption = figure.querySelector("figcaption").textContent;
    copy.append(ground, makeSvg("text", { x: 8, y: 18, "font-size": 14, ...font }, caption), body);
    entries.forEach((entry, i) => {
      const y = height + 26 + 18 * i + 8;
      const line = getComputedStyle(entry.querySelector("line"));
      const look = { stroke: line.stroke, "stroke-dasharray": line.strokeDasharray };
      copy.append(makeSvg("line", { x1: 60, x2: 82, y1: y, y2: y, "stroke-width": 2, ...look }));
      const name = entry.textContent.trim();
      copy.append(makeSvg("text", { x: 90, y: y + 4, "font-size": 12, ...font }, name));
    });

    copy.setAttribute("xmlns", NAMESPACE);
    copy.setAttribute("viewBox", `0 0 ${width} ${total}`);
    copy.setAttribute("width", width);
    copy.setAttribute("height", total);
    return { text: new XMLSerializer().serializeToString(copy), width, height: total, caption };
  };

  const download = (blob, caption, suffix) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = caption.replace(/[^A-Za-z0-9]+/g, "_") + suffix;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  const saveSvg = (figure) => {
    const { text, caption } = copyChart(figure);
    download(new Blob([text], { type: "image/svg+xml" }), caption, ".svg");
  };

  const savePng = async (figure) => {
    const { text, width, height, caption } = copyChart(figure);
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [3 * width, 3 * height];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => download(blob, caption, ".png"));
  };

  const makeButton = (text, label, action) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", label);
    button.addEventListener("click", action);
    return button;
  };

  for (const figure of document.querySelectorAll("figure.chart")) {
    const svg = figure.querySelector("svg");
    const tips = takeTips(svg);
    if (tips.length) {
      const show = (event) => showTips(svg, tips, event);
      svg.addEventListener("pointermove", show);
      svg.addEventListener("pointerdown", show);
      svg.addEventListener("pointerleave", () => hideTips(tips));
    }

    const caption = figure.querySelector("figcaption").textContent;
    const buttons = document.createElement("p");
    buttons.className = "save";
    buttons.append(
      makeButton("Save SVG", `Save as SVG: ${caption}`, () => saveSvg(figure)),
      makeButton("Save PNG", `Save as PNG: ${caption}`, () => savePng(figure)),
    );
    figure.append(buttons);
  }
})();
