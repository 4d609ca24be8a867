"use strict";

// Every text from the server is set as textContent, never as markup.
const $ = (id) => document.getElementById(id);
const token = location.hash.slice(1);
const RATES = [1, 0.5, 0.25];
const KEPT = 3; // clips before and after the current one whose sound and picture stay in memory

const context = new AudioContext();
const gain = context.createGain();
gain.connect(context.destination);

let state = null;
let at = 0;
let listed = []; // the clips that are reviewed: all, or those of one label or group
let done = new Set();
let current = null; // what the server says of the clip that is shown
let playing = null; // its source, and when it was started
let rate = 0;
const undone = []; // where decisions were made, the last one last
const ahead = new Map(); // by index, promises of what a clip needs

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { "X-Token": token } });
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    const lost = answer.status === 401 ? "this page belongs to an earlier review; open the address that is printed now" : "the server refused it";
    throw new Error(said.error || lost);
  }
  return answer;
}

function fail(error) {
  const text = error instanceof TypeError ? "the review is not running any more; start it again, it goes on here" : error.message;
  $("error").textContent = text;
  $("error").hidden = false;
}

function prepared(index) {
  if (!ahead.has(index)) {
    const place = shifts.has(index) ? `${index}/${shifts.get(index)}` : index;
    const bytes = ask(`/sound/${place}`).then((answer) => answer.arrayBuffer());
    const picture = ask(`/picture/${place}`).then((answer) => answer.blob()).then((blob) => URL.createObjectURL(blob));
    for (const promise of [bytes, picture]) promise.catch(() => {});
    ahead.set(index, { item: ask(`/item/${place}`).then((answer) => answer.json()), bytes, sounds: [], picture });
    ahead.get(index).item.catch(() => ahead.delete(index));
  }
  const clip = ahead.get(index);
  clip.sounds[rate] ??= clip.bytes.then((bytes) => decoded(bytes, RATES[rate]));
  clip.sounds[rate].catch(() => {});
  return clip;
}

// Slower sound of a high rate is decoded as if it had been recorded at a lower one: the browser then resamples all of it,
// and a bat at 45 kHz is heard at 11. Slowed down after decoding, it would have lost all beyond the rate of the
// loudspeaker; other sound loses nothing, and browsers do not decode very low rates.
async function decoded(bytes, speed) {
  const wav = bytes.slice(0);
  const head = new DataView(wav);
  if (head.getUint32(24, true) > context.sampleRate) {
    for (const place of [24, 28]) head.setUint32(place, Math.round(head.getUint32(place, true) * speed), true);
    return context.decodeAudioData(wav);
  }
  const sound = await context.decodeAudioData(wav);
  if (speed === 1) return sound;
  const slow = context.createBuffer(sound.numberOfChannels, sound.length, sound.sampleRate * speed);
  for (let channel = 0; channel < sound.numberOfChannels; channel += 1) slow.copyToChannel(sound.getChannelData(channel), channel);
  return slow;
}

function forgetFarOnes() {
  for (const index of ahead.keys()) {
    if (Math.abs(listed.indexOf(index) - listed.indexOf(at)) > KEPT) forget(index);
  }
}

function forget(index) {
  ahead.get(index)?.picture.then(URL.revokeObjectURL, () => {});
  forgetNear(ahead.get(index));
  ahead.delete(index);
}

const seconds = (value) => `${value.toFixed(2)} s`;
const percent = (share) => `${(100 * share).toFixed(1)}\u202f%`;

async function show(index, aloud) {
  stop();
  at = index;
  const clip = prepared(at);
  const [mine, speed, decoding] = [at, RATES[rate], clip.sounds[rate]];
  const item = await clip.item;
  if (mine !== at) return;
  current = { item, sound: null, speed };
  $("error").hidden = true;
  $("naming").hidden = true;
  $("label").textContent = item.label;
  $("path").textContent = item.path;
  $("why").textContent = item.why;
  $("starts").textContent = isFinding() ? clock(item.starts) : seconds(item.starts);
  $("ends").textContent = isFinding() ? clock(item.ends) : seconds(item.ends);
  if (isFinding()) {
    item.kept ??= item.edges;
    item.edges = moved.get(at) ?? item.edges;
    showEdges();
  }
  const other = otherClass(item);
  $("second").textContent = other ? `${item.label} and ${other[0]}` : "two classes here";
  $("both").disabled = !other;
  $("probabilities").replaceChildren(...item.probabilities.map(([name, p], i) => bar(name, p, name === item.label ? "true" : i ? "other" : "wrong")));
  $("nosound").hidden = true;
  $("picture").alt = `Spectrogram of ${item.path}`;
  document.title = `${item.label}: review`;
  tell();
  showNear(clip);
  clip.picture.then((address) => { if (mine === at) $("picture").src = address; }, fail);
  try {
    const sound = await decoding;
    if (mine !== at) return;
    if (speed === RATES[rate]) {
      Object.assign(current, { sound, speed });
      draw(sound);
      if (aloud) play();
    }
  } catch (error) {
    if (mine !== at) return;
    draw(null);
    $("nosound").textContent = `No sound: ${error.message}.`;
    $("nosound").hidden = false;
  }
  forgetFarOnes();
  for (const by of [1, 2]) if (beside(by) !== null) prepared(beside(by));
}

// The likeliest class beside the label, which background is not.
function otherClass(item) {
  return item.probabilities.find(([name]) => name !== item.label && name !== state.background);
}

// The clip so many places further in the list; null beyond its ends.
function beside(by) {
  return listed[listed.indexOf(at) + by] ?? null;
}

function step(by) {
  if (beside(by) !== null) show(beside(by), true).catch(fail);
}

function list(choice) {
  const [what, number] = choice.split(" ");
  const of = { label: state.labels, group: state.groups }[what];
  listed = state.labels.map((_, index) => index).filter((index) => !of || of[index] === Number(number));
  $("only").value = choice;
}

function showFirst() {
  return show(listed.find((index) => !done.has(index)) ?? listed[0], false);
}

function bar(name, p, kind) {
  const line = document.createElement("li");
  line.className = kind;
  const [title, value] = ["name", "value"].map((of) => Object.assign(document.createElement("span"), { className: of }));
  title.textContent = name;
  value.textContent = percent(p);
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const share = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [key, of] of [["width", `${100 * p}%`], ["height", "100%"], ["rx", "2"]]) share.setAttribute(key, of);
  picture.setAttribute("aria-hidden", "true");
  picture.append(share);
  line.append(title, picture, value);
  return line;
}

function tell() {
  const suspects = state.n_suspects ? ` · suspects reviewed: ${state.n_suspects_done} of about ${state.n_suspects}` : " · no suspects";
  const [what, left] = isFinding() ? ["Finding", ""] : ["Clip", suspects];
  $("progress").textContent = `${what} ${listed.indexOf(at) + 1} of ${listed.length}${left} · decisions: ${done.size}`;
  $("bar").max = isFinding() ? listed.length : Math.max(state.n_suspects, 1);
  $("bar").value = isFinding() ? listed.filter((index) => done.has(index)).length : state.n_suspects_done;
  $("note").textContent = state.note ?? "";
  const was = current && current.item.decision;
  const words = { right: "The label is right.", unsure: "Not sure.", unusable: "Unusable.", rejected: `Rejected: it is ${state.background}.` };
  $("decided").textContent = !was ? "" : was.decision === "change" ? `It is ${was.new}.`
    : was.decision === "both" ? `It is ${current.item.label} and ${was.new}.` : words[was.decision];
  if (current && haveMoved()) $("decided").textContent += " The edges have moved; a decision keeps them.";
  for (const id of ["right", "both", "unsure", "unusable", "rejected"]) $(id).setAttribute("aria-pressed", String(was?.decision === id));
  for (const button of $("classes").children) button.setAttribute("aria-pressed", String(was?.decision === "change" && was.new === button.dataset.name));
}

async function decide(decision, name = "") {
  if (!current) return;
  const index = at;
  const item = current.item;
  if (decision === "change" && name === item.label) [decision, name] = ["right", ""];
  const posted = ask("/decide", { method: "POST", body: JSON.stringify({ item: index, decision, new: name, span: item.edges }) }).then((answer) => answer.json());
  const before = item.kept;
  Object.assign(item, { decision: { decision, new: name }, kept: item.edges });
  undone.push(index);
  // The next clip is heard while this decision is written; if it cannot be, the page goes back and says so.
  const shown = beside(1) !== null ? show(beside(1), true) : (tell(), null);
  try {
    know(await posted);
    tell();
  } catch (error) {
    Object.assign(item, { decision: null, kept: before });
    undone.pop();
    await shown;
    await show(index, false);
    fail(error);
  }
}

function know(progress) {
  Object.assign(state, progress);
  done = new Set(progress.done);
}

async function undo() {
  const index = undone.length ? undone.pop() : at;
  try {
    const clip = await prepared(index).item;
    if (clip.decision) know(await (await ask("/decide", { method: "POST", body: JSON.stringify({ item: index, decision: "undo" }) })).json());
    if (!listed.includes(index)) list("all");
    clip.decision = null;
    if (isFinding()) {
      moved.delete(index);
      clip.kept = clip.edges = [...clip.found];
    }
    await show(index, true);
  } catch (error) {
    fail(error);
  }
}

// Sound ------------------------------------------------------------------------------------------------------------

// Seconds are those of the clip, which a slower sound takes longer for.
function play(from = beginning()) {
  stop();
  if (!current?.sound) return;
  start(current.sound, from / current.speed, looped().map((time) => time / current.speed));
  playing.from = from;
  document.body.dataset.playing = at;
  requestAnimationFrame(move);
}

// Plays a sound from a time within it, and its part again and again if a loop is wanted.
function start(sound, from, part) {
  context.resume();
  const source = context.createBufferSource();
  source.buffer = sound;
  source.loop = $("loop").getAttribute("aria-pressed") === "true";
  [source.loopStart, source.loopEnd] = part;
  source.connect(gain);
  source.start(0, from);
  playing = { source, since: context.currentTime };
  source.addEventListener("ended", () => { if (playing?.source === source) stop(); });
}

function stop() {
  if (playing) {
    const { source } = playing;
    playing = null;
    source.stop();
  }
  delete document.body.dataset.playing;
  stopNear();
  $("cursor").style.visibility = "hidden";
  if (current?.sound) draw(current.sound);
}

function position() {
  const passed = playing.from + (context.currentTime - playing.since) * current.speed;
  const [first, last] = looped();
  return playing.source.loop && passed > last ? first + ((passed - first) % (last - first)) : passed;
}

function length() {
  return current.sound.duration * current.speed;
}

function move() {
  if (playing?.from === undefined || !current?.sound) return;
  const now = position();
  const { item, sound } = current;
  const x = (item.sound_starts + now - item.starts) / (item.ends - item.starts);
  $("cursor").style.visibility = x >= 0 && x <= 1 ? "visible" : "hidden";
  $("cursor").style.left = `${100 * x}%`;
  draw(sound, now / length());
  requestAnimationFrame(move);
}

function draw(sound, cursor = null) {
  const canvas = $("wave");
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(document.body);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!sound) return;
  const samples = sound.getChannelData(0);
  sound.peaks ??= Array.from({ length: canvas.width }, (_, x) => {
    const [first, last] = [x, x + 1].map((edge) => Math.floor((edge * samples.length) / canvas.width));
    const step = Math.max(1, Math.floor((last - first) / 64));
    let peak = 0;
    for (let i = first; i < Math.max(last, first + 1); i += step) peak = Math.max(peak, Math.abs(samples[i]));
    return peak;
  });
  const loudest = Math.max(...sound.peaks, 1e-6);
  pen.fillStyle = style.getPropertyValue("--muted");
  sound.peaks.forEach((peak, x) => {
    const height = Math.max(1, (peak / loudest) * canvas.height);
    pen.fillRect(x, (canvas.height - height) / 2, 1, height);
  });
  pen.fillStyle = style.getPropertyValue("--accent");
  if (isFinding()) for (const time of current.item.edges) pen.fillRect(share(time) * canvas.width - 1, 0, 3, canvas.height);
  if (cursor === null) return;
  pen.fillStyle = style.getPropertyValue("--wrong");
  pen.fillRect(cursor * canvas.width, 0, 3, canvas.height);
}

// Keys and buttons -------------------------------------------------------------------------------------------------

const actions = {
  play: () => (playing && playing.near === undefined ? stop() : play()),
  loop: () => {
    const on = $("loop").getAttribute("aria-pressed") !== "true";
    $("loop").setAttribute("aria-pressed", String(on));
    if (playing) playing.source.loop = on;
    else if (on) play();
  },
  slow: async () => {
    const from = playing?.from === undefined ? 0 : position();
    rate = (rate + 1) % RATES.length;
    $("rate").textContent = `speed ${["1", "½", "¼"][rate]}`;
    const [mine, speed] = [at, RATES[rate]];
    const sound = await prepared(at).sounds[rate].catch(() => null); // why it has no sound is told already
    if (!sound || mine !== at || speed !== RATES[rate]) return;
    stop();
    Object.assign(current, { sound, speed });
    play(from);
  },
  louder: () => { gain.gain.value = Math.min(gain.gain.value * 2, 64); },
  softer: () => { gain.gain.value = Math.max(gain.gain.value / 2, 1 / 16); },
  right: () => decide("right"),
  both: () => decide("both", otherClass(current.item)[0]),
  unsure: () => decide("unsure"),
  unusable: () => decide("unusable"),
  rejected: () => decide("rejected"),
  "from-earlier": () => nudge(0, -1),
  "from-later": () => nudge(0, 1),
  "to-earlier": () => nudge(1, -1),
  "to-later": () => nudge(1, 1),
  "as-found": asFound,
  earlier: () => pan(-1),
  later: () => pan(1),
  new: () => { $("naming").hidden = false; $("name").value = ""; $("name").focus(); },
  back: () => step(-1),
  next: () => step(1),
  undo,
};

function addButtons() {
  $("classes").replaceChildren(...state.classes.map((name, i) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.dataset.name = name;
    button.setAttribute("aria-pressed", "false");
    if (i < 9) {
      button.dataset.key = String(i + 1);
      button.append(Object.assign(document.createElement("kbd"), { textContent: String(i + 1) }));
    }
    button.append(name);
    button.addEventListener("click", () => decide("change", name));
    return button;
  }));
  $("names").replaceChildren(...state.classes.map((name) => Object.assign(document.createElement("option"), { value: name })));
  $("hz").replaceChildren(...state.ticks.map(({ hz, share }) => {
    const tick = document.createElement("span");
    tick.textContent = hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz`;
    tick.style.bottom = `${100 * share}%`;
    return tick;
  }));
  $("file").textContent = state.file;
  if (isFinding()) {
    for (const id of ["edges", "before", "behind", "rejected"]) $(id).hidden = false;
    $("unusable").hidden = true;
    $("bar").setAttribute("aria-label", "Findings reviewed");
    $("rejected").lastChild.textContent = ` rejected: ${state.background}`;
    $("after").textContent = `Labels are written beside it, for Raven and for Audacity; python -m featurize DATA --labels ${state.tables} takes them. Recordings stay as they are.`;
  }
  addChoices();
}

function addChoices() {
  const choice = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });
  const choices = (what, title, names, numbers) => {
    const counts = names.map(() => 0);
    for (const number of numbers) counts[number] += 1;
    const group = Object.assign(document.createElement("optgroup"), { label: title });
    group.append(...names.map((name, number) => choice(`${what} ${number}`, `${name} (${counts[number]})`)).filter((_, number) => counts[number]));
    return group;
  };
  $("only").replaceChildren(choice("all", `all ${isFinding() ? "findings" : "clips"} (${state.labels.length})`), choices("label", "one label", state.classes, state.labels));
  // Where each clip is a group of its own, there is nothing to choose.
  if (state.group_names.length < state.groups.length) $("only").append(choices("group", isFinding() ? "one recording" : "one speaker or recorder", state.group_names, state.groups));
}

for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
$("wave").addEventListener("click", (event) => {
  if (current?.sound) play((event.offsetX / $("wave").clientWidth) * length());
});
$("only").addEventListener("change", () => { $("only").blur(); list($("only").value); showFirst().catch(fail); });
$("naming").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  $("name").blur();
  if (name) decide("change", name);
});
document.addEventListener("click", (event) => { if (event.detail) event.target.closest("button")?.blur(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !state) return;
  if (event.target instanceof HTMLSelectElement) return;
  if (event.target instanceof HTMLInputElement) {
    if (event.key === "Escape") { $("naming").hidden = true; event.target.blur(); }
    return;
  }
  // A button that was reached by Tab answers to these two itself.
  if (event.target instanceof HTMLButtonElement && (event.key === "Enter" || event.key === " ")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const button = [...document.querySelectorAll("button[data-key]")].find((one) => one.dataset.key === key && !one.closest("[hidden]"));
  if (!button || button.disabled) return;
  event.preventDefault();
  button.click();
});

ask("/state")
  .then((answer) => answer.json())
  .then((found) => { state = found; know(found); addButtons(); list("all"); return showFirst(); })
  .catch((error) => { $("progress").textContent = "Nothing to review"; fail(error); });
