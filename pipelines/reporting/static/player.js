// Sounds: one plays at a time, and a line over its picture follows it.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
let playing = null;

const soundOf = (clip) => clip.querySelector("audio");

function follow() {
  if (!playing) return;
  const sound = soundOf(playing);
  showCursor(playing, sound.currentTime / sound.duration || 0);
  requestAnimationFrame(follow);
}

function showCursor(clip, part) {
  const cursor = clip.querySelector(".cursor");
  for (const end of ["x1", "x2"]) cursor.setAttribute(end, 1000 * part);
}

function stop() {
  if (!playing) return;
  soundOf(playing).pause();
  playing.querySelector(".play").setAttribute("aria-pressed", "false");
  playing = null;
}

function play(clip) {
  const sound = soundOf(clip);
  if (!sound) return;
  if (playing === clip) return stop();
  stop();
  playing = clip;
  clip.querySelector(".play").setAttribute("aria-pressed", "true");
  sound.play().then(follow, stop);
}

// Go on from a place in the picture: 0 is its left, 1 its right.
function playFrom(clip, part) {
  const sound = soundOf(clip);
  const seek = () => { sound.currentTime = part * sound.duration; };
  if (sound.readyState) seek();
  else sound.addEventListener("loadedmetadata", seek, { once: true });
  if (playing !== clip) play(clip);
}

for (const clip of document.querySelectorAll(".clip")) {
  const sound = soundOf(clip);
  if (!sound) continue;
  sound.addEventListener("ended", () => { stop(); showCursor(clip, -1); });
  clip.querySelector(".play").addEventListener("click", (event) => {
    event.stopPropagation();
    play(clip);
  });
  clip.querySelector(".sound").addEventListener("click", (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    playFrom(clip, (event.clientX - box.left) / box.width);
  });
}
