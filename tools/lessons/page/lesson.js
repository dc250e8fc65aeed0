"use strict";
// The slide view: one section at a time, 1280 by 720, scaled to the window. #slides=4 is the fourth.
const WIDTH = 1280, HEIGHT = 720, LARGEST = 30, SMALLEST = 10;
const SHOWN = "h1, h2, h3, ul, ol, blockquote, .cell:not(.page) > .code, .table, figure, math[display=block]";
const slides = [...document.querySelectorAll("section")].filter(one => one.querySelector(SHOWN));
let current = 0, lost;

function fit(slide) {
  for (let size = LARGEST; size >= SMALLEST; size--) {
    slide.style.fontSize = `${size}px`;
    if (slide.scrollHeight <= HEIGHT && slide.scrollWidth <= WIDTH) break;
  }
}

function show(number) {
  current = Math.max(0, Math.min(slides.length - 1, number));
  slides.forEach((slide, place) => slide.classList.toggle("current", place === current));
  fit(slides[current]);
  history.replaceState(null, "", `#slides=${current + 1}`);
}

function resize() {
  const scale = Math.min(innerWidth / WIDTH, innerHeight / HEIGHT);
  document.documentElement.style.setProperty("--scale", scale);
}

function enter(number) {
  document.body.classList.add("slides");
  slides.forEach((slide, place) => {
    slide.classList.add("slide");
    slide.dataset.number = `${place + 1} / ${slides.length}`;
  });
  resize();
  show(number);
}

function leave() {
  document.body.classList.remove("slides");
  slides.forEach(slide => { slide.style.fontSize = ""; });
  history.replaceState(null, "", " ");
  slides[current].scrollIntoView();
}

const nearest = () => slides.findLastIndex(one => one.getBoundingClientRect().top < innerHeight / 2);
document.getElementById("slides").addEventListener("click", () => enter(nearest()));
addEventListener("resize", resize);
addEventListener("beforeprint", () => {
  if (document.body.classList.contains("slides")) {
    slides.forEach(slide => slide.classList.add("current"));
    slides.forEach(fit);
    lost = current;
  }
});
addEventListener("afterprint", () => { if (document.body.classList.contains("slides")) show(lost); });
addEventListener("keydown", event => {
  if (!document.body.classList.contains("slides") || event.ctrlKey || event.metaKey || event.altKey) return;
  const moves = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 };
  if (event.key in moves) show(current + moves[event.key]);
  else if (event.key === "Home") show(0);
  else if (event.key === "End") show(slides.length - 1);
  else if (event.key === "Escape") leave();
  else return;
  event.preventDefault();
});
const asked = /^#slides(?:=(\d+))?$/.exec(location.hash);
if (asked) enter((asked[1] ?? 1) - 1);
