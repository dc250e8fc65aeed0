"use strict";
const sections = JSON.parse(document.getElementById("data").textContent);
const box = document.getElementById("search");
const found = document.getElementById("found");

function search() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  document.getElementById("all").hidden = words.length > 0;
  found.replaceChildren();
  if (!words.length) return;
  const matches = sections.filter(([, title, part, text]) =>
    words.every(word => `${title} ${part} ${text}`.toLowerCase().includes(word)));
  for (const [address, title, part] of matches) {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = address;
    link.textContent = part === title ? title : `${title}: ${part}`;
    item.append(link);
    found.append(item);
  }
  if (!matches.length) found.append("No section contains all of these words.");
}

box.addEventListener("input", search);
search();
