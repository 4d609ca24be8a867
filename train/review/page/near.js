"use strict";

// The clips most like the one that is shown, to compare with it by ear: some of its label, and some of another class.

const NEAR_KEYS = ["q", "w", "e", "r", "t", "y"];
const PATIENCE = 150; // milliseconds on a clip until the pictures are asked for: a reviewer who hurries on needs none

function showNear(clip) {
  const { near = [], label } = current.item;
  const mine = at;
  $("near").hidden = !near.length;
  clip.near ??= near.map(() => ({ bytes: null, picture: null }));
  const buttons = near.map((one, k) => nearButton(one, k));
  for (const [id, isOwn] of [["near-own", true], ["near-other", false]]) {
    $(id).replaceChildren(...buttons.filter((_, k) => (near[k].label === label) === isOwn));
    $(id).hidden = !$(id).children.length;
  }
  setTimeout(() => {
    if (mine !== at) return;
    clip.near.forEach((one, k) => {
      one.picture ??= ask(`/picture/${mine}/${k + 1}`).then((answer) => answer.blob()).then((blob) => URL.createObjectURL(blob));
      one.picture.then((address) => { buttons[k].querySelector("img").src = address; }, fail);
    });
  }, PATIENCE);
}

function nearButton(one, k) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "like", title: one.path });
  const name = document.createElement("span");
  if (NEAR_KEYS[k]) {
    button.dataset.key = NEAR_KEYS[k];
    name.append(Object.assign(document.createElement("kbd"), { textContent: NEAR_KEYS[k] }));
  }
  name.append(one.label);
  button.setAttribute("aria-pressed", "false");
  button.append(Object.assign(document.createElement("img"), { alt: "", width: 128, height: 128 }), name);
  button.addEventListener("click", () => hearNear(k, button).catch(fail));
  return button;
}

async function hearNear(k, button) {
  if (playing?.near === k) {
    stop();
    return;
  }
  const [mine, one] = [at, ahead.get(at).near[k]];
  one.bytes ??= ask(`/sound/${mine}/${k + 1}`).then((answer) => answer.arrayBuffer());
  one.bytes.catch(() => { one.bytes = null; });
  const sound = await decoded(await one.bytes, RATES[rate]);
  if (mine !== at) return;
  stop();
  start(sound, 0, [0, sound.duration]);
  playing.near = k;
  document.body.dataset.near = k + 1;
  button.setAttribute("aria-pressed", "true");
}

function stopNear() {
  delete document.body.dataset.near;
  for (const button of document.querySelectorAll("#near button")) button.setAttribute("aria-pressed", "false");
}

function forgetNear(clip) {
  for (const one of clip?.near ?? []) one.picture?.then(URL.revokeObjectURL, () => {});
}
