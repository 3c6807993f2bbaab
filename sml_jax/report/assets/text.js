// How the page writes text. Whatever a model or a data set wrote goes through `say`, which makes text nodes alone.

// Characters that cannot be seen, or that turn the direction of the text around them.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/u;

/** Makes an element with a class and a text. */
function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/** Appends a text as it was written, with a small box in place of each character that cannot be seen. */
function say(parent, text) {
  // A direction of its own keeps the text from turning what stands beside it.
  const isolated = document.createElement("bdi");
  isolated.dir = "auto";
  let plain = "";
  for (const character of String(text)) {
    if (!UNSEEN.test(character)) {
      plain += character;
      continue;
    }
    isolated.append(plain, make("span", "mark", codePoint(character)));
    plain = "";
  }
  isolated.append(plain);
  parent.append(isolated);
  return parent;
}

/** The text of a short label, with the code of each character that cannot be seen. */
function visible(text) {
  return UNSEEN.test(text) ? Array.from(text, (c) => (UNSEEN.test(c) ? `\\${codePoint(c)}` : c)).join("") : text;
}

/** The code of a character, such as "U+202E". */
function codePoint(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/** A number to three digits; "" for anything else. */
function shortNumber(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(3))) : "";
}
