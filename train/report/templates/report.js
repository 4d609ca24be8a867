"use strict";

// A click on a column's title sorts its table by it, and another click the other way round.
const collator = new Intl.Collator(undefined, { numeric: true });
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [row.cells[column].dataset.value ?? row.cells[column].textContent, row]);
      rows.sort(([a], [b]) => sign * (a - b || collator.compare(a, b)));
      body.append(...rows.map(([, row]) => row));
    });
  });
}

const players = [...document.querySelectorAll("audio")];
for (const player of players) {
  const sayWhy = () => {
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = "No player: this browser cannot play the file, or it is not there any more.";
    player.replaceWith(note);
  };
  if (player.error) sayWhy();
  else player.addEventListener("error", sayWhy);
  player.addEventListener("play", () => players.forEach((other) => other === player || other.pause()));
}
