// The filters above the list. Each field's values become small numbers, so that a filter is one pass over arrays.

const FILTERS = [
  { label: "Run", value: (d) => RUNS[d.run] },
  { label: "Suite", value: (d) => d.suite || "(training)" },
  { label: "Domain", value: (d) => d.domain || "(none)" },
  { label: "Arm", value: (d) => d.arm },
  { label: "User", value: (d) => d.user || "(none)" },
  { label: "Policy", value: (d) => d.policy },
  { label: "Solved at turn", value: (d) => (d.solved ? String(d.solved) : "never"), extra: { "any turn": (d) => d.solved > 0 } },
  { label: "Leaked", value: (d) => (d.leaks ? "yes" : "no") },
  { label: "Asked", value: (d) => (d.asked ? "yes" : "no") },
  { label: "Dropped", value: (d) => (d.dropped ? "yes" : "no") },
];

/** Makes the filters' selects from the dialogues that are loaded; `changed` is called when one is used. */
function makeFilters(form, changed) {
  for (const filter of FILTERS) {
    const codes = new Map();
    filter.codes = dialogues.map((dialogue) => {
      const value = filter.value(dialogue);
      if (!codes.has(value)) codes.set(value, codes.size);
      return codes.get(value);
    });
    // A field that is the same everywhere has nothing to choose.
    if (codes.size < 2) continue;
    filter.select = document.createElement("select");
    filter.select.append(new Option("any", ""));
    const inOrder = [...codes].sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
    for (const name of Object.keys(filter.extra ?? {})) filter.select.append(new Option(name, name));
    for (const [value, code] of inOrder) filter.select.append(new Option(visible(value), String(code)));
    filter.select.addEventListener("change", changed);
    const label = make("label", "", filter.label);
    label.append(filter.select);
    form.append(label);
  }
}

/** The ids of the dialogues that pass all filters and hold the text, in order. */
function filtered(text) {
  const wanted = text.toLowerCase();
  const tests = [];
  for (const { select, codes, extra } of FILTERS) {
    if (!select || select.value === "") continue;
    const special = extra?.[select.value];
    const code = Number(select.value);
    tests.push(special ? (id) => special(dialogues[id]) : (id) => codes[id] === code);
  }
  if (wanted) tests.push((id) => searchTexts[id].includes(wanted));
  const ids = [];
  for (let id = 0; id < dialogues.length; id++) {
    if (tests.every((test) => test(id))) ids.push(id);
  }
  return ids;
}
