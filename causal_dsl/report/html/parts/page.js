"use strict";
(() => {
  const tip = document.getElementById("tip");

  /* Charts: what a mark says is shown where it is pointed at, and read out where arrow keys lead to it. */
  let told = null;
  const say = (mark) => {
    hush();
    told = mark;
    tip.textContent = mark.dataset.told.split(" · ").join("\n");
    tip.hidden = false;
    const at = mark.getBoundingClientRect();
    const wide = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, at.left + at.width / 2 - tip.offsetWidth / 2), wide - tip.offsetWidth - 8);
    const above = at.top - tip.offsetHeight - 8;
    tip.style.left = left + window.scrollX + "px";
    tip.style.top = (above > 0 ? above : at.bottom + 8) + window.scrollY + "px";
    mark.classList.add("at");
  };
  const hush = () => {
    tip.hidden = true;
    if (told) told.classList.remove("at");
    told = null;
  };
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("[data-told]")) hush();
  });
  for (const box of document.querySelectorAll(".chart")) {
    for (const title of box.querySelectorAll("svg title")) {
      const mark = title.parentNode;
      mark.dataset.told = title.textContent;
      mark.classList.add("mark");
      title.remove();
    }
    const marks = [...box.querySelectorAll("[data-told]")];
    let place = -1;
    /* A finger that is lifted leaves as well: what it touched stays until something else is touched. */
    box.addEventListener("pointerover", (event) => {
      const mark = event.target.closest("[data-told]");
      if (mark) say(mark);
      else hush();
    });
    box.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") hush();
    });
    box.addEventListener("blur", hush);
    box.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") hush();
      if (!step || !marks.length) return;
      event.preventDefault();
      place = place < 0 ? 0 : (place + step + marks.length) % marks.length;
      marks[place].scrollIntoView({ block: "nearest", inline: "nearest" });
      say(marks[place]);
    });
  }

  /* Tables: a head sorts by its column, numbers as numbers. */
  const key = (cell) => {
    const number = Number.parseFloat(cell.textContent);
    return /^[-+]?[\d.]/.test(cell.textContent.trim()) && !Number.isNaN(number) ? number : null;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    if (!table.tHead) continue;
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const rows = [...body.rows];
        rows.sort((one, two) => {
          const [a, b] = [one.cells[column], two.cells[column]];
          const [x, y] = [key(a), key(b)];
          const order = x !== null && y !== null ? x - y : a.textContent.localeCompare(b.textContent);
          return down ? -order : order;
        });
        body.append(...rows);
      });
    });
  }

  /* Filters: only rows that hold all the words stay. */
  for (const box of document.querySelectorAll(".filter")) {
    const table = document.getElementById(box.dataset.table);
    const input = box.querySelector("input");
    const count = box.querySelector("output");
    box.hidden = false;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      count.textContent = `${shown} of ${table.tBodies[0].rows.length} shown`;
    });
  }
  /* On paper everything is open, also in browsers that the style sheet does not tell so. */
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const closed of opened) closed.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
  });
})();
