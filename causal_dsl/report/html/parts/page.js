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
    /* It covers no mark of the chart: it stands above the chart or below it, or else at the end of the screen that is farther away. */
    const chart = mark.ownerSVGElement.getBoundingClientRect();
    const high = tip.offsetHeight;
    const above = chart.top - high - 10;
    const far = at.top + at.height / 2 < window.innerHeight / 2 ? window.innerHeight - high - 8 : 8;
    const top = above >= 0 ? above : chart.bottom + 10 + high <= window.innerHeight ? chart.bottom + 10 : far;
    tip.style.left = left + window.scrollX + "px";
    tip.style.top = top + window.scrollY + "px";
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
  /* Where a key leads: along a row or to its ends by left, right, Home and End; up and down to the nearest mark above or below. */
  const next = (marks, place, pressed) => {
    const back = pressed === "ArrowLeft" || pressed === "ArrowUp";
    if (place < 0) return pressed === "End" ? marks.length - 1 : 0;
    const at = marks.map((mark) => {
      const box = mark.getBoundingClientRect();
      return [box.left + box.width / 2, box.top + box.height / 2];
    });
    const [x, y] = at[place];
    const all = [...marks.keys()];
    if (pressed === "Home" || pressed === "End") {
      const row = all.filter((one) => Math.abs(at[one][1] - y) < 1).sort((a, b) => at[a][0] - at[b][0]);
      return pressed === "Home" ? row[0] : row[row.length - 1];
    }
    const across = pressed === "ArrowLeft" || pressed === "ArrowRight";
    if (!across) {
      const sign = back ? -1 : 1;
      const column = all.filter((one) => Math.abs(at[one][0] - x) < 1 && sign * (at[one][1] - y) > 1);
      if (column.length) return column.reduce((a, b) => (sign * at[b][1] < sign * at[a][1] ? b : a));
      if (all.some((one) => one !== place && Math.abs(at[one][0] - x) < 1)) return place;
    }
    return (place + (back ? -1 : 1) + marks.length) % marks.length;
  };
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
      if (event.key === "Escape") hush();
      const keys = ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "Home", "End"];
      if (!keys.includes(event.key) || !marks.length) return;
      event.preventDefault();
      place = next(marks, place, event.key);
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
