"""How pages look, on light and on dark screens."""

from __future__ import annotations

KIND_COLOURS = {
    "conv": "#4477cc",
    "depthwise_conv": "#33a3a8",
    "linear": "#dd7733",
    "matmul": "#c9a227",
    "attention": "#aa4499",
    "norm": "#66a344",
    "softmax": "#e2739f",
    "activation": "#8f7bd8",
    "elementwise": "#7d8b99",
    "copy": "#a5714e",
    "pool": "#4d9a73",
    "reduce": "#b05c5c",
    "conv_transpose": "#6aa5e0",
    "unknown": "#d03030",
}
"""Kind of kernel -> colour, readable on white and on black."""
OTHER_COLOUR = "#9a9a9a"

BOUND_COLOURS = {
    "compute": "#4477cc",
    "bandwidth": "#dd7733",
    "launch": "#66a344",
    "unknown": "#d03030",
}
"""What kernels wait for -> colour."""

STYLE = """
:root { --ink: #1c2330; --soft: #5d6776; --line: #d8dde4; --card: #f5f7f9; --ground: #ffffff;
  --warn: #a83200; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9da7b5; --line: #39424e;
  --card: #1d232b; --ground: #12161b; --warn: #ff9a66; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; overflow-wrap: anywhere; }
p, ul { margin: .4rem 0; }
.soft { color: var(--soft); }
.warn { color: var(--warn); }
.tiles { display: flex; flex-wrap: wrap; gap: .5rem; margin: 1rem 0; padding: 0; }
.tiles div { background: var(--card); border-radius: .4rem; padding: .4rem .8rem; }
.tiles b { display: block; font-size: 1.1rem; }
.tiles span { color: var(--soft); font-size: .85rem; }
.device { margin: .9rem 0 1.2rem; }
.headline { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; }
.headline b { overflow-wrap: anywhere; }
.ms { font-size: 1.15rem; font-weight: 600; white-space: nowrap; }
.scale { position: relative; height: 1.1rem; background: var(--card); border-radius: .2rem; }
.scale i { position: absolute; top: .3rem; height: .5rem; background: #4477cc88;
  border-radius: .25rem; }
.scale u { position: absolute; top: .1rem; width: .25rem; height: .9rem; margin-left: -.125rem;
  background: #4477cc; border-radius: .1rem; }
.axis { display: flex; justify-content: space-between; color: var(--soft); font-size: .8rem; }
.stack { display: flex; height: 1.4rem; border-radius: .2rem; overflow: hidden; gap: 1px; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .3rem 0; font-size: .85rem; }
.legend span { white-space: nowrap; }
.legend i { display: inline-block; width: .7rem; height: .7rem; border-radius: .15rem;
  margin-right: .35rem; }
.wide { overflow-x: auto; }
.wide svg { display: block; min-width: 34rem; width: 100%; height: auto; }
svg text { fill: var(--soft); }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .roof { stroke: var(--ink); stroke-width: 1.5; fill: none; }
table { border-collapse: collapse; font-size: .88rem; width: 100%; }
th, td { padding: .25rem .6rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; overflow-wrap: anywhere; min-width: 3.6rem;
  max-width: 8rem; }
td.warn { white-space: normal; min-width: 12rem; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.name { max-width: 16rem; overflow: hidden; text-overflow: ellipsis; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .3rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
"""
