"use strict";
(() => {
  const form = document.getElementById("filter");
  const box = document.getElementById("filter-words");
  const state = document.getElementById("filter-state");
  if (!form) return;
  const rows = [...document.querySelectorAll("[data-finding]")].map(
    (row) => [row, `${row.dataset.finding} ${row.textContent}`.toLowerCase()],
  );
  const groups = [...document.querySelectorAll("[data-findings]")];
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [row, text] of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    for (const group of groups) group.hidden = !group.querySelector("[data-finding]:not([hidden])");
    state.textContent = words.length ? `${shown} of ${rows.length} listed findings shown` : "";
  });
})();
