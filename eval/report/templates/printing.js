// Print: what is folded is opened, unless it is long and for machines.
"use strict";
(() => {
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open], .not-printed)")];
    opened.forEach((node) => { node.open = true; });
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((node) => { node.open = false; });
  });
})();
