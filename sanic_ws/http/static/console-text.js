// How numbers, times and durations are written.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const two = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const NONE = "–";

export function count(value) {
  return Number.isFinite(value) ? whole.format(value) : NONE;
}

/** A rate: whole numbers where they are large enough. */
export function rate(value) {
  if (!Number.isFinite(value)) return NONE;
  return value !== 0 && value < 100 ? one.format(value) : whole.format(value);
}

export function ms(value) {
  if (!Number.isFinite(value)) return NONE;
  if (value >= 1000) return `${two.format(value / 1000)} s`;
  return `${(value < 10 ? two : value < 100 ? one : whole).format(value)} ms`;
}

export function bytes(value) {
  return Number.isFinite(value) && value > 0 ? `${whole.format(value / (1 << 20))} MB` : NONE;
}

export function percent(value) {
  return Number.isFinite(value) ? `${whole.format(value * 100)} %` : NONE;
}

/** A duration in seconds, in its two largest units at most. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return NONE;
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function ago(time, now = Date.now()) {
  return duration((now - Date.parse(time)) / 1000);
}

/** The time of day, after the date if that is not today. */
export function clock(time = Date.now()) {
  const date = new Date(time);
  const day = date.toDateString() === new Date().toDateString() ? "" : `${date.toLocaleDateString("sv")} `;
  return `${day}${date.toLocaleTimeString("sv")}`;
}

export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}
