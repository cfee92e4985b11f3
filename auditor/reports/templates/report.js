"use strict";
(() => {
  const PAGE = 50;
  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  const keys = {
    text: (cell) => cell.textContent.trim(),
    time: (cell) => cell.querySelector("time")?.dateTime ?? "",
    rank: (cell) => -Number(cell.dataset.rank),
  };

  /* A long table: its rows sorted, filtered, and one page of them at a time on the screen; paper has them all. */
  class Listing {
    constructor(table) {
      this.body = table.tBodies[0];
      this.rows = [...this.body.rows];
      this.matching = this.rows;
      this.page = 0;
      this.heads = [...table.tHead.querySelectorAll("[data-sort]")];
      for (const head of this.heads) this.offer(head);
      table.classList.add("sortable");
      this.pager = this.rows.length > PAGE ? this.makePager(table) : null;
      this.show();
    }

    offer(head) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => this.sort(head));
    }

    sort(head) {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      for (const other of this.heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const key = keys[head.dataset.sort];
      const keyed = this.rows.map((row) => [key(row.cells[head.cellIndex]), row]);
      const sign = rising ? 1 : -1;
      keyed.sort(([a], [b]) => sign * (typeof a === "number" ? a - b : order.compare(a, b)));
      this.rows = keyed.map(([, row]) => row);
      this.body.append(...this.rows);
      this.matching = this.rows.filter((row) => !row.hidden);
      this.page = 0;
      this.show();
    }

    filter(matches) {
      for (const row of this.rows) row.hidden = !matches(row);
      this.matching = this.rows.filter((row) => !row.hidden);
      this.page = 0;
      this.show();
    }

    makePager(table) {
      const pager = document.createElement("nav");
      pager.className = "pager";
      pager.setAttribute("aria-label", `Pages: ${table.caption.textContent}`);
      this.state = document.createElement("span");
      this.state.setAttribute("role", "status");
      this.turns = [["Previous", -1], ["Next", 1]].map(([words, step]) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = words;
        button.addEventListener("click", () => {
          if (button.getAttribute("aria-disabled") === "true") return;
          this.page += step;
          this.show();
        });
        return [button, step];
      });
      pager.append(this.turns[0][0], this.state, this.turns[1][0]);
      table.parentElement.after(pager);
      return pager;
    }

    show() {
      if (!this.pager) return;
      const first = this.page * PAGE;
      const shown = new Set(this.matching.slice(first, first + PAGE));
      for (const row of this.rows) row.classList.toggle("other-page", !shown.has(row));
      const total = this.matching.length;
      const number = (count) => count.toLocaleString("en");
      this.state.textContent = total ? `${number(first + 1)} to ${number(Math.min(first + PAGE, total))} of ${number(total)}` : "none";
      for (const [button, step] of this.turns) {
        const there = (this.page + step) * PAGE;
        button.setAttribute("aria-disabled", String(there < 0 || there >= total));
      }
      this.pager.hidden = total <= PAGE;
    }
  }

  const listings = [...document.querySelectorAll("table[data-paged]")].map((table) => new Listing(table));

  const form = document.getElementById("filter");
  if (!form) return;
  const words = document.getElementById("filter-words");
  const severity = document.getElementById("filter-severity");
  const state = document.getElementById("filter-state");
  const found = listings.filter((listing) => listing.body.closest("[data-findings]"));
  const texts = new Map();
  for (const listing of found) {
    for (const row of listing.rows) texts.set(row, `${row.dataset.finding} ${row.textContent}`.toLowerCase());
  }
  const refresh = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const grade = severity.value;
    for (const listing of found) {
      listing.filter((row) => (!grade || row.dataset.finding === grade) && wanted.every((word) => texts.get(row).includes(word)));
      listing.body.closest("[data-findings]").hidden = !listing.matching.length;
    }
    const shown = found.reduce((sum, listing) => sum + listing.matching.length, 0);
    state.textContent = wanted.length || grade ? `${shown.toLocaleString("en")} of ${texts.size.toLocaleString("en")} listed findings match` : "";
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  words.addEventListener("input", refresh);
  severity.addEventListener("change", refresh);
})();
