// The list of dialogues: only the rows in sight are elements, however many dialogues there are.

const ROW_HEIGHT = 52; // as in the style
const ROWS_BEYOND = 6; // above and below what is in sight, so that slow scrolling shows no gaps

class DialogueList {
  /** `choose` is called with the dialogue whose row was chosen, and whether it is to be opened. */
  constructor(scroller, rows, choose) {
    this.scroller = scroller;
    this.rows = rows;
    this.choose = choose;
    this.ids = [];
    this.place = -1; // of the chosen dialogue among `ids`
    this.elements = new Map(); // place -> row
    scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(scroller);
    rows.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) this.select(Number(row.dataset.place), true);
    });
  }

  /** Shows other dialogues. The chosen one stays chosen if it is among them. */
  show(ids) {
    const chosenId = this.ids[this.place];
    this.ids = ids;
    this.place = ids.indexOf(chosenId);
    this.rows.style.height = `${ids.length * ROW_HEIGHT}px`;
    for (const row of this.elements.values()) row.remove();
    this.elements.clear();
    this.scroller.scrollTop = this.place < 0 ? 0 : Math.max(0, (this.place - 2) * ROW_HEIGHT);
    this.draw();
  }

  /** Chooses the row at a place, and brings it into sight. */
  select(place, open = false) {
    if (!this.ids.length) return;
    this.place = Math.min(Math.max(place, 0), this.ids.length - 1);
    const top = this.place * ROW_HEIGHT;
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight) this.scroller.scrollTop = top + ROW_HEIGHT - clientHeight;
    this.draw();
    this.choose(dialogues[this.ids[this.place]], open);
  }

  /** Makes the rows in sight and removes the others. */
  draw() {
    const { scrollTop, clientHeight } = this.scroller;
    const first = Math.max(0, Math.floor(scrollTop / ROW_HEIGHT) - ROWS_BEYOND);
    const last = Math.min(this.ids.length - 1, Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT) + ROWS_BEYOND);
    for (const [place, row] of this.elements) {
      if (place < first || place > last) {
        row.remove();
        this.elements.delete(place);
      }
    }
    for (let place = first; place <= last; place++) {
      if (!this.elements.has(place)) this.elements.set(place, this.makeRow(place));
      this.elements.get(place).setAttribute("aria-selected", String(place === this.place));
    }
    const chosenRow = this.elements.get(this.place);
    if (chosenRow) this.scroller.setAttribute("aria-activedescendant", chosenRow.id);
    else this.scroller.removeAttribute("aria-activedescendant");
  }

  makeRow(place) {
    const dialogue = dialogues[this.ids[place]];
    const row = make("div", "row");
    row.id = `row-${place}`;
    row.dataset.place = place;
    row.setAttribute("role", "option");
    row.setAttribute("aria-posinset", place + 1);
    row.setAttribute("aria-setsize", this.ids.length);
    row.style.top = `${place * ROW_HEIGHT}px`;
    const title = say(make("div", "title"), dialogue.problem);
    for (const badge of badges(dialogue)) title.append(badge);
    row.append(title, say(make("div", "what"), origin(dialogue)));
    this.rows.append(row);
    return row;
  }
}

/** What came of a dialogue, in short. */
function badges(dialogue) {
  const solved = make("span", dialogue.solved ? "badge good" : "badge bad", dialogue.solved ? `\u2713 turn ${dialogue.solved}` : "\u2717");
  const marks = [solved];
  if (dialogue.asked) marks.push(make("span", "badge", "asked"));
  if (dialogue.leaks) marks.push(make("span", "badge bad", "leaked"));
  if (dialogue.dropped) marks.push(make("span", "badge bad", "dropped"));
  return marks;
}

/** Where a dialogue comes from, in one line. */
function origin(dialogue) {
  const place = dialogue.suite || `training step ${dialogue.step}`;
  const run = RUNS.length > 1 ? [RUNS[dialogue.run]] : [];
  return [dialogue.policy, dialogue.arm, dialogue.user, place, ...run].filter(Boolean).join(" \u00b7 ");
}
