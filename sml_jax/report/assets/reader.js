// The reader: filters, list and detail together, by mouse and by keyboard.

let LABELS = [];
let RUNS = [];

const byId = (id) => document.getElementById(id);
const options = { companions: 0, privateShown: false, tokensShown: false };
const MOST_COLUMNS = 40;
let shownDialogue = null;

/** Shows the chosen dialogue, and what stands beside it. */
function showDetail() {
  const detail = byId("detail");
  // A button that is made anew keeps the focus.
  const focused = detail.contains(document.activeElement) ? document.activeElement.dataset.name ?? "" : null;
  detail.replaceChildren();
  if (!shownDialogue) {
    detail.append(make("p", "note", "Choose a dialogue on the left."));
    return;
  }
  const bar = make("div", "bar");
  const back = button("Back", false, closeDetail);
  back.classList.add("back");
  bar.append(back);
  COMPANIONS.forEach((kind, number) => {
    const count = companions(shownDialogue, kind).length;
    // What has nothing to put beside this dialogue is not offered, but keeps its key.
    if (number && count < 2) return;
    bar.append(button(kind.name, activeKind() === number, () => setCompanions(number), number ? ` (${count})` : ""));
  });
  bar.append(make("span", "gap"));
  bar.append(button("Private knowledge", options.privateShown, () => toggle("privateShown")));
  const shown = companions(shownDialogue, COMPANIONS[activeKind()]);
  if (shown.some(hasTokens)) bar.append(button("Tokens", options.tokensShown, () => toggle("tokensShown")));
  const columns = make("div", "columns");
  for (const dialogue of shown.slice(0, MOST_COLUMNS)) {
    columns.append(dialogueColumn(dialogue, dialogue === shownDialogue && shown.length > 1, options));
  }
  detail.append(bar, say(make("h3"), shownDialogue.problem), columns);
  if (shown.length > MOST_COLUMNS) {
    detail.append(make("p", "note", `${MOST_COLUMNS} of ${shown.length} are shown; the list has the others.`));
  }
  if (focused !== null) {
    const again = [...bar.children].find((element) => focused && element.dataset.name === focused);
    (again ?? detail).focus({ preventScroll: true });
  }
}

/** The number of what stands beside the dialogue: what was asked for, if this dialogue has it. */
function activeKind() {
  return companions(shownDialogue, COMPANIONS[options.companions]).length > 1 ? options.companions : 0;
}

function button(name, pressed, act, count = "") {
  const element = make("button", "", name + count);
  element.dataset.name = name;
  element.type = "button";
  element.setAttribute("aria-pressed", String(pressed));
  element.addEventListener("click", act);
  return element;
}

function setCompanions(number) {
  options.companions = number;
  showDetail();
}

function toggle(name) {
  options[name] = !options[name];
  showDetail();
}

function openDetail() {
  byId("panes").classList.add("reading");
  byId("detail").focus({ preventScroll: true });
}

function closeDetail() {
  byId("panes").classList.remove("reading");
  byId("list").focus({ preventScroll: true });
}

/** The keys of the reader. They act anywhere in it but in fields where a key writes or chooses. */
function onKey(event, list) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inField = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "Escape") {
    closeDetail();
    return;
  }
  if (inField) {
    // From the search field the arrow leads into the list.
    if (event.target.id === "search" && (event.key === "ArrowDown" || event.key === "Enter")) {
      event.preventDefault();
      byId("list").focus();
      list.select(Math.max(list.place, 0));
    }
    return;
  }
  const inList = event.target.id === "list";
  const page = Math.max(1, Math.floor(byId("list").clientHeight / ROW_HEIGHT) - 1);
  const steps = { j: 1, k: -1 };
  if (inList) Object.assign(steps, { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity });
  if (event.key in steps) list.select(list.place + steps[event.key]);
  else if (event.key === "Enter" && inList) {
    if (list.place < 0) list.select(0);
    openDetail();
  } else if (event.key === "/") byId("search").focus();
  else if (event.key === "p") toggle("privateShown");
  else if (event.key === "t") toggle("tokensShown");
  else if (/^[1-5]$/.test(event.key)) setCompanions(Number(event.key) - 1);
  else return;
  event.preventDefault();
}

/** Unpacks the dialogues and makes the reader. */
async function start() {
  const head = await unpack(byId("head"));
  LABELS = head.labels;
  RUNS = head.runs;
  await loadDialogues((count) => {
    byId("loading").textContent = `Unpacking the dialogues: ${count} of ${head.total}`;
  });
  if (!dialogues.length) {
    byId("loading").textContent = "There are no dialogues.";
    return;
  }
  byId("loading").remove();
  byId("reader").hidden = false;
  const list = new DialogueList(byId("list"), byId("rows"), (dialogue, open) => {
    shownDialogue = dialogue;
    showDetail();
    if (open) openDetail();
  });
  const update = () => {
    const ids = filtered(byId("search").value);
    list.show(ids);
    byId("count").textContent = `${ids.length.toLocaleString("en")} of ${dialogues.length.toLocaleString("en")} dialogues`;
  };
  makeFilters(byId("filters"), update);
  byId("search").addEventListener("input", update);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("dialogues").addEventListener("keydown", (event) => onKey(event, list));
  // The keys also act before anything in the reader was clicked.
  document.body.addEventListener("keydown", (event) => {
    if (event.target === document.body) onKey(event, list);
  });
  update();
  showDetail();
  performance.mark("dialogues-ready");
}

start().catch((error) => {
  byId("loading").textContent = `The dialogues cannot be unpacked (${error}): this browser may be too old.`;
});
