// One recording: a player that knows which stretches can be heard, and a line that follows it.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const sound = document.getElementById("player");
const button = document.getElementById("play");
const position = document.getElementById("position");
const strips = [...document.querySelectorAll(".strip")].map((at) => ({
  at, start: Number(at.dataset.start), end: Number(at.dataset.end), cursor: at.querySelector(".cursor"),
}));
let stretch = -1; // the one that is loaded
let now = 0; // seconds in the recording
let shown = null;

function clock(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const [h, m, s] = [seconds / 3600, (seconds / 60) % 60, seconds % 60].map(Math.floor);
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

function showPlace() {
  const strip = strips.find((one) => now < one.end) ?? strips.at(-1);
  if (shown && shown !== strip) place(shown, -0.009);
  place(strip, (now - strip.start) / (strip.end - strip.start));
  if (shown !== strip && !sound.paused) strip.at.scrollIntoView({ block: "nearest" });
  shown = strip;
  position.value = String(now);
  position.setAttribute("aria-valuetext", clock(now));
  document.getElementById("time").value = clock(now);
}

function place(strip, part) {
  for (const end of ["x1", "x2"]) strip.cursor.setAttribute(end, 1000 * part);
}

// Go to a place, or to the next one that can be heard.
function goTo(seconds) {
  const length = Number(position.max);
  now = Math.min(Math.max(0, seconds), length);
  let next = data.stretches.findIndex((one) => now < one.end_s - 0.01);
  if (next < 0) next = data.stretches.length - 1;
  const { start_s, end_s, sound: src } = data.stretches[next];
  now = Math.min(Math.max(now, start_s), end_s);
  const seek = () => { sound.currentTime = Math.min(now - start_s, sound.duration || Infinity); };
  if (next === stretch) seek();
  else {
    const goesOn = !sound.paused;
    stretch = next;
    sound.src = src;
    sound.addEventListener("loadedmetadata", seek, { once: true });
    sound.load();
    if (goesOn) start();
  }
  showPlace();
}

function start() {
  sound.play().then(follow, () => {});
}

function follow() {
  if (sound.paused || stretch < 0) return;
  if (sound.readyState && !sound.seeking) {
    now = data.stretches[stretch].start_s + sound.currentTime;
    showPlace();
  }
  requestAnimationFrame(follow);
}

// What space does, here and for answers.js.
function play() {
  if (!sound) return;
  if (!sound.paused) return sound.pause();
  if (stretch < 0 || now >= data.stretches.at(-1).end_s - 0.05) goTo(stretch < 0 ? now : 0);
  start();
}

function choose(tag) {
  for (const drawn of document.querySelectorAll(".over g")) {
    drawn.classList.toggle("is-hidden", drawn.dataset.tag !== tag);
  }
  for (const lane of document.querySelectorAll(".lane")) {
    lane.classList.toggle("is-chosen", lane.dataset.tag === tag);
  }
}

if (sound) {
  sound.addEventListener("play", () => button.setAttribute("aria-pressed", "true"));
  sound.addEventListener("pause", () => button.setAttribute("aria-pressed", "false"));
  sound.addEventListener("ended", () => {
    if (stretch + 1 === data.stretches.length) return;
    goTo(data.stretches[stretch + 1].start_s);
    start();
  });
  button.addEventListener("click", play);
  position.addEventListener("input", () => goTo(Number(position.value)));
  for (const strip of strips) {
    strip.at.addEventListener("click", (event) => {
      const box = strip.at.querySelector(".sound").getBoundingClientRect();
      const part = (event.clientX - box.left) / box.width;
      if (part >= 0 && part <= 1) goTo(strip.start + part * (strip.end - strip.start));
    });
  }
  for (const from of document.querySelectorAll("[data-from]")) {
    from.addEventListener("click", () => {
      goTo(Number(from.dataset.from));
      if (sound.paused) start();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, button, .clip") || event.ctrlKey || event.altKey || event.metaKey) return;
    const step = { ArrowLeft: -5, ArrowRight: 5 }[event.key];
    if (event.key === " ") play();
    else if (step) goTo(now + step);
    else return;
    event.stopImmediatePropagation();
    event.preventDefault();
  });
}
for (const tag of document.querySelectorAll("input[name=tag]")) {
  tag.addEventListener("change", () => choose(tag.value));
}
choose("0");
