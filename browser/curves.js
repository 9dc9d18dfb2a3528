// Numbers of every step become curves: pale between the least and the largest of neighboring steps,
// bold their moving average.
"use strict";

const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const thousands = number => Math.round(number).toLocaleString("en-US");

// A canvas as large as it is shown, on any screen -> its context, in CSS pixels.
function fit(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return { context, width, height };
}

// 1, 2 or 5 times a power of ten: a distance between ticks, of which about `count` fit.
function tickDistance(range, count) {
  const least = range / count, power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map(factor => factor * power).find(distance => distance >= least);
}

// series: [{ name, color, values }]; undecided: D's loss if it can't tell real from fake; broken:
// [[first, last], ...] in steps.
function drawCurves(canvas, { series, undecided, broken }) {
  const { context, width, height } = fit(canvas);
  const steps = Math.max(20, series[0].values.length);
  const left = 44, right = width - 8, top = 26, bottom = height - 38;
  const highest = upperLimit(series, undecided);
  const toX = step => left + (right - left) * step / steps;
  const toY = value => Math.max(top, bottom - (bottom - top) * value / highest);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = color("--broken");
  for (const [first, last] of broken) {
    context.fillRect(toX(first), top, Math.max(2, toX(last ?? steps) - toX(first)), bottom - top);
  }
  drawAxes(context, { left, right, top, bottom, steps, highest, toX, toY, undecided });
  for (const one of series) drawOne(context, one, { left, right, steps, toY });
  drawLegend(context, series, left);
}

// The loss at the top of the figure: single spikes are cut off.
function upperLimit(series, undecided) {
  const recent = series.flatMap(({ values }) => values.slice(-4000)).filter(Number.isFinite);
  const sorted = Float64Array.from(recent).sort();
  return Math.max(1.5 * undecided, 1.25 * (sorted[Math.floor(0.98 * sorted.length)] || 0));
}

function drawAxes(context, { left, right, top, bottom, steps, highest, toX, toY, undecided }) {
  context.strokeStyle = color("--line");
  context.fillStyle = color("--soft");
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  const up = tickDistance(highest, 4), along = tickDistance(steps, (right - left) / 90);
  for (let value = 0; value <= highest; value += up) {
    line(context, left, toY(value), right, toY(value));
    context.fillText(+value.toFixed(2), left - 6, toY(value));
  }
  context.textAlign = "center";
  for (let step = 0; step <= steps; step += along) {
    if (toX(step) < right - 12) context.fillText(thousands(step), toX(step), bottom + 12);
  }
  context.fillText("step", (left + right) / 2, bottom + 28);
  context.save();
  context.translate(8, (top + bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.fillText("loss", 0, 0);
  context.restore();
  context.strokeStyle = color("--soft");
  context.setLineDash([5, 4]);
  line(context, left, toY(undecided), right, toY(undecided));
  context.setLineDash([]);
}

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function drawOne(context, { color: name, values }, { left, right, steps, toY }) {
  const bins = Math.max(1, Math.round((right - left) / 2)), perBin = Math.max(1, steps / bins);
  const means = [], limits = [];
  for (let bin = 0; bin * perBin < values.length; bin++) {
    const part = values.slice(Math.floor(bin * perBin), Math.max(bin * perBin + 1, (bin + 1) * perBin));
    const x = left + (right - left) * (bin + 0.5) * perBin / steps;
    limits.push([x, Math.min(...part), Math.max(...part)]);
    means.push([x, part.reduce((sum, value) => sum + value, 0) / part.length]);
  }
  context.strokeStyle = color(name);
  context.globalAlpha = 0.3;
  context.lineWidth = 1.5;
  context.beginPath();
  for (const [x, low, high] of limits) {
    context.lineTo(x, toY(low));
    context.lineTo(x, toY(high));
  }
  context.stroke();
  context.globalAlpha = 1;
  context.lineWidth = 2;
  context.beginPath();
  let average = means.length ? means[0][1] : 0;
  for (const [x, value] of means) {
    average += 0.15 * ((Number.isFinite(value) ? value : average) - average);
    context.lineTo(x, toY(average));
  }
  context.stroke();
}

function drawLegend(context, series, left) {
  context.textAlign = "left";
  context.textBaseline = "middle";
  let x = left;
  for (const { name, color: colorName } of series) {
    context.fillStyle = color(colorName);
    context.fillRect(x, 9, 16, 4);
    context.fillStyle = color("--text");
    context.fillText(name, x + 22, 11);
    x += 38 + context.measureText(name).width;
  }
  context.strokeStyle = color("--soft");
  context.lineWidth = 1;
  context.setLineDash([5, 4]);
  line(context, x, 11, x + 20, 11);
  context.setLineDash([]);
  context.fillStyle = color("--text");
  context.fillText("undecided D", x + 26, 11);
}

// ---- The plane -----------------------------------------------------------------------------------

const PLANE = 3.5, GRID = 61;
const mix = (a, b, share) => a.map((value, i) => value + share * (b[i] - value));
const FAR = [11, 60, 93], NEAR = [244, 249, 253];  // a score of 0 and of 1, in both color schemes

function drawPlane(canvas, { scores, points, arrows, real }) {
  const { context, width } = fit(canvas);
  const toX = x => width * (x + PLANE) / (2 * PLANE), toY = y => width * (PLANE - y) / (2 * PLANE);
  drawScores(context, scores, width);
  drawTicks(context, width, toX, toY);
  for (let i = 0; i < real.length; i += 2) {
    dot(context, toX(real[i]), toY(real[i + 1]), 3.2, "#fff", "#000");
  }
  for (let i = 0; i < 600; i += 2) dot(context, toX(points[i]), toY(points[i + 1]), 2.6, "#d55e00");
  for (let i = 0; i < arrows.length; i += 2) {
    const length = Math.hypot(arrows[i], arrows[i + 1]) || 1;
    const x = toX(points[i]), y = toY(points[i + 1]);
    arrow(context, x, y, 20 * arrows[i] / length, -20 * arrows[i + 1] / length);
  }
}

function drawScores(context, scores, width) {
  const small = document.createElement("canvas");
  small.width = small.height = GRID;
  const image = new ImageData(GRID, GRID);
  scores.forEach((score, i) => {
    image.data.set([...mix(FAR, NEAR, score), 255], 4 * i);
  });
  small.getContext("2d").putImageData(image, 0, 0);
  const pixel = width / (GRID - 1);  // the outermost points lie on the edge of the plane
  context.imageSmoothingQuality = "high";
  context.drawImage(small, -pixel / 2, -pixel / 2, width + pixel, width + pixel);
}

function drawTicks(context, width, toX, toY) {
  context.font = "12px system-ui, sans-serif";
  context.lineWidth = 3;
  context.strokeStyle = "#fffc";
  context.fillStyle = "#000";
  const write = (text, x, y, align) => {
    context.textAlign = align;
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  };
  for (const value of [-2, 0, 2]) {
    write(value, toX(value), width - 8, "center");
    write(value, 8, toY(value) + 4, "left");
  }
  write("x", width - 10, width - 8, "right");
  write("y", 8, 16, "left");
}

function dot(context, x, y, radius, fill, edge) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = fill;
  context.fill();
  if (!edge) return;
  context.strokeStyle = edge;
  context.lineWidth = 1;
  context.stroke();
}

function arrow(context, x, y, dx, dy) {
  context.strokeStyle = "#000";
  context.lineWidth = 1.4;
  line(context, x, y, x + dx, y + dy);
  line(context, x + dx, y + dy, x + 0.7 * dx - 0.2 * dy, y + 0.7 * dy + 0.2 * dx);
  line(context, x + dx, y + dy, x + 0.7 * dx + 0.2 * dy, y + 0.7 * dy - 0.2 * dx);
}
