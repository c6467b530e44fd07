/* Crops of pictures to the benchmark's proportions: boxes [left, top, right, bottom] in fractions of a picture. */

export const MODES = ["center", "saliency", "letterbox"];
const RATIO = 460 / 260;
const SMALLEST = 1 / 4;  // of the largest box

const round = value => Math.round(value * 1e6) / 1e6;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/* Width and height of the largest box. */
function largest(shot) {
  const ratio = shot.width / shot.height;
  return ratio > RATIO ? [RATIO / ratio, 1] : [1, ratio / RATIO];
}

/* The box of a crop; null for letterbox, which has none. */
export function findBox(shot, crop) {
  if (crop === "letterbox") return null;
  if (crop === "saliency") return shot.saliency;
  if (crop !== "center") return crop;
  const [width, height] = largest(shot);
  return [(1 - width) / 2, (1 - height) / 2, (1 + width) / 2, (1 + height) / 2];
}

function place(left, top, width, height) {
  const [x, y] = [clamp(left, 0, 1 - width), clamp(top, 0, 1 - height)];
  return [x, y, Math.min(x + width, 1), Math.min(y + height, 1)].map(round);
}

/* Move a box by shares of its own width and height. */
export function moveBox(box, right, down) {
  const [width, height] = [box[2] - box[0], box[3] - box[1]];
  return place(box[0] + right * width, box[1] + down * height, width, height);
}

/* Scale a box around its centre, from a quarter of the largest box to the largest. */
export function scaleBox(shot, box, factor) {
  const [widest] = largest(shot);
  const share = clamp(factor * (box[2] - box[0]) / widest, SMALLEST, 1);
  const [width, height] = largest(shot).map(side => side * share);
  return place((box[0] + box[2] - width) / 2, (box[1] + box[3] - height) / 2, width, height);
}

/* Whether a value is a crop of this picture: a mode, or a box of the right proportions. */
export function isCrop(shot, value) {
  if (MODES.includes(value)) return true;
  if (!Array.isArray(value) || value.length !== 4 || !value.every(part => typeof part === "number" && part >= 0 && part <= 1)) return false;
  const [width, height] = [(value[2] - value[0]) * shot.width, (value[3] - value[1]) * shot.height];
  return width > 0 && height > 0 && Math.abs(460 * height / width - 260) <= 1;
}

/* Position a picture in a frame of the benchmark's proportions. */
export function placePicture(image, shot, crop) {
  let [left, top, width, height] = [0, 0, 1, 1];
  const box = findBox(shot, crop);
  if (box) {
    [width, height] = [1 / (box[2] - box[0]), 1 / (box[3] - box[1])];
    [left, top] = [-box[0] * width, -box[1] * height];
  } else {
    const ratio = shot.width / shot.height;
    [width, height] = [Math.min(1, ratio / RATIO), Math.min(1, RATIO / ratio)];
    [left, top] = [(1 - width) / 2, (1 - height) / 2];
  }
  for (const [name, value] of Object.entries({ left, top, width, height })) image.style[name] = `${value * 100}%`;
}
