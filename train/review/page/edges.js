"use strict";

// The edges of a finding, which are dragged or moved by keys, and the seconds around it. Times are those of the recording.

const STEPS = 200; // an edge moves by such a part of the view with a key
const moved = new Map(); // by index, the edges of findings that were moved
const shifts = new Map(); // by index, how far views were moved

const isFinding = () => state.kind === "finding";
const EDGES = ["from", "to"];

function clock(time) {
  const [minutes, rest] = [Math.floor(time / 60), time % 60];
  const tail = `${String(minutes % 60).padStart(2, "0")}:${rest.toFixed(2).padStart(5, "0")}`;
  return minutes < 60 ? tail.replace(/^0/, "") : `${Math.floor(minutes / 60)}:${tail}`;
}

const share = (time) => (time - current.item.starts) / (current.item.ends - current.item.starts);
const inView = (time) => Math.min(Math.max(share(time), 0), 1);

// The part of the sound that is played in a loop, in seconds within it.
function looped() {
  if (!isFinding()) return [0, length()];
  const [first, last] = current.item.edges.map((time) => inView(time) * length());
  return first < last ? [first, last] : [0, length()];
}

// Where the sound is played from: a little before the finding.
function beginning() {
  return isFinding() ? Math.max(0, looped()[0] - Math.min(0.5, length() / 16)) : 0;
}

function showEdges() {
  const { edges, starts, ends } = current.item;
  $("before").style.width = `${100 * inView(edges[0])}%`;
  $("behind").style.width = `${100 * (1 - inView(edges[1]))}%`;
  EDGES.forEach((id, i) => {
    const handle = $(id);
    handle.style.left = `${100 * share(edges[i])}%`;
    handle.hidden = edges[i] < starts || edges[i] > ends;
    handle.setAttribute("aria-valuemin", i ? edges[0] : 0);
    handle.setAttribute("aria-valuemax", i ? current.item.duration : edges[1]);
    handle.setAttribute("aria-valuenow", edges[i]);
    handle.setAttribute("aria-valuetext", clock(edges[i]));
  });
  $("span").textContent = `${clock(edges[0])} to ${clock(edges[1])}`;
  if (current.sound && !playing) draw(current.sound);
}

function moveEdge(i, time) {
  const { item } = current;
  const least = (item.ends - item.starts) / STEPS;
  const [first, last] = item.edges;
  const place = i ? Math.min(Math.max(time, first + least), item.duration) : Math.max(Math.min(time, last - least), 0);
  setEdges(i ? [first, place] : [place, last]);
}

function setEdges(edges) {
  current.item.edges = edges;
  moved.set(at, edges);
  showEdges();
  tell();
}

// Goes on with a loop between the new edges.
function hearEdges() {
  if (playing?.source.loop) play(looped()[0]);
}

function nudge(i, by) {
  if (!current || !isFinding()) return;
  moveEdge(i, current.item.edges[i] + (by * (current.item.ends - current.item.starts)) / STEPS);
  hearEdges();
}

function pan(by) {
  const { item } = current;
  if (by < 0 ? item.starts <= 0 : item.ends >= item.duration) return;
  shifts.set(at, (shifts.get(at) ?? 0) + by);
  forget(at);
  show(at, false).catch(fail);
}

function asFound() {
  setEdges([...current.item.found]);
  hearEdges();
}

// Whether the edges differ from those that are kept.
function haveMoved() {
  const { edges, kept } = current.item;
  return isFinding() && edges.some((time, i) => Math.abs(time - kept[i]) > 1e-6);
}

EDGES.forEach((id, i) => {
  const handle = document.getElementById(id);
  const time = (event) => {
    const { left, width } = $("pictures").getBoundingClientRect();
    return current.item.starts + ((event.clientX - left) / width) * (current.item.ends - current.item.starts);
  };
  let grip = 0; // seconds from the edge to where it was taken
  handle.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    grip = time(event) - current.item.edges[i];
  });
  handle.addEventListener("pointermove", (event) => {
    if (handle.hasPointerCapture(event.pointerId)) moveEdge(i, time(event) - grip);
  });
  handle.addEventListener("lostpointercapture", hearEdges);
  handle.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    nudge(i, by);
  });
});
