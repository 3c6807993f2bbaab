// The dialogues that the page carries: compressed blocks, unpacked one after the other.

const dialogues = [];
const searchTexts = []; // of each dialogue, all that can be searched, in lower case

/** The JSON value of a packed element: base64 of gzip. */
async function unpack(element) {
  const binary = atob(element.textContent);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** Unpacks all dialogues; `progress` is called with their number after each block. */
async function loadDialogues(progress) {
  const seen = new Map();
  for (const element of document.querySelectorAll("script.dialogues")) {
    for (const dialogue of await unpack(element)) {
      dialogue.id = dialogues.length;
      dialogue.asked = dialogue.labels.some((label) => LABELS[label] === "clarification" || LABELS[label] === "interrogation");
      // Sharded suites simulate a dialogue several times; the first of one policy belongs to the first of the other.
      const key = joined(dialogue, ["run", "suite", "problem", "user", "arm", "policy", "step"]);
      dialogue.occurrence = seen.get(key) ?? 0;
      seen.set(key, dialogue.occurrence + 1);
      dialogues.push(dialogue);
      searchTexts.push([dialogue.problem, ...dialogue.texts].join("\n").toLowerCase());
    }
    // The packed text is not needed any more.
    element.textContent = "";
    progress(dialogues.length);
  }
}

/** Some fields of a dialogue as one key. */
function joined(dialogue, fields) {
  return fields.map((field) => dialogue[field]).join("\u0000");
}

// What can stand beside a dialogue: those that are alike in these fields. The others tell them apart.
const COMPANIONS = [
  { name: "Alone", fields: null },
  { name: "Base and trained", fields: ["run", "suite", "problem", "user", "arm", "occurrence"], evaluation: true },
  { name: "Group", fields: ["run", "suite", "problem", "user", "arm", "policy", "step"] },
  { name: "Arms", fields: ["run", "suite", "problem", "user", "policy", "occurrence"], evaluation: true },
  { name: "Runs", fields: ["suite", "problem", "user", "arm", "policy", "occurrence"], evaluation: true },
];

/** The dialogues that stand beside one, itself among them, in the order of the file. */
function companions(dialogue, kind) {
  // Training dialogues of different steps are not to be compared so.
  if (!kind.fields || (kind.evaluation && !dialogue.suite)) return [dialogue];
  if (!kind.index) {
    kind.index = new Map();
    for (const other of dialogues) {
      const key = joined(other, kind.fields);
      const alike = kind.index.get(key);
      if (alike) alike.push(other);
      else kind.index.set(key, [other]);
    }
  }
  return kind.index.get(joined(dialogue, kind.fields));
}
