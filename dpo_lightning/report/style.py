"""The look of the pages: one column, readable from 320 pixels on, light or dark as the reader's system is."""

STYLE = """
:root {
  --ground: #fdfdfc; --panel: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d8dee4; --bar: #4c78a8;
  --error: #b42318; --warning: #8a5a00; --info: #1f5f8b;
  --prompt: #e3edf7; --trained: #dcf0df; --not-trained: #eceef0;
  --c0: #0b63b0; --c1: #c2410c; --c2: #1a7f4b; --c3: #8250c4; --c4: #8a5f00; --c5: #0e7680; --c6: #b4236f;
  --c7: #57606a;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --panel: #1c2024; --ink: #e6e9ec; --soft: #9aa4ae; --line: #343b42; --bar: #6f9fd0;
    --error: #ff8a7a; --warning: #f0bd5b; --info: #7fc1ee;
    --prompt: #1d3349; --trained: #1c3d26; --not-trained: #2c3137;
    --c0: #6cb2f5; --c1: #ff9a63; --c2: #5fce8e; --c3: #c3a1ff; --c4: #e6b94d; --c5: #4fd0d8; --c6: #ff8ac2;
    --c7: #a9b3bd;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0 0 .25rem; }
h4 { font-size: .875rem; color: var(--soft); margin: .75rem 0 .25rem; font-weight: 600; }
p { margin: .25rem 0; }
article, .example {
  background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; margin: .75rem 0;
}
article { border-left: .3rem solid var(--soft); }
article.error { border-left-color: var(--error); }
article.warning { border-left-color: var(--warning); }
article.info { border-left-color: var(--info); }
.badge { font-size: .75rem; text-transform: uppercase; letter-spacing: .04em; color: var(--soft); }
.error .badge { color: var(--error); }
.warning .badge { color: var(--warning); }
.info .badge { color: var(--info); }
.remedy { color: var(--soft); }
.example:not([open]) { padding: .2rem .75rem; margin: .4rem 0; }
summary { cursor: pointer; padding: .25rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; overflow-wrap: normal; }
.number { text-align: right; padding-right: 1.5rem; }
td.number { white-space: nowrap; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: .85rem/1.5 ui-monospace, monospace; }
.piece { border-radius: .2rem; padding: .05rem .15rem; box-decoration-break: clone; }
.prompt { background: var(--prompt); }
.trained { background: var(--trained); }
.not-trained { background: var(--not-trained); color: var(--soft); }
.bars { font-size: .85rem; font-variant-numeric: tabular-nums; }
.bin { display: grid; grid-template-columns: 7rem 1fr 4.5rem; gap: .5rem; align-items: center; }
.bin span:last-child { text-align: right; }
.bar i { display: block; height: .8rem; background: var(--bar); border-radius: .15rem; }
.beyond .bar i { background: var(--warning); }
.soft, figcaption small { color: var(--soft); font-weight: 400; }
.better { font-weight: 700; color: var(--c2); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: .75rem; }
figure {
  background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; margin: 0;
  min-width: 0;
}
figcaption { font-weight: 600; font-size: .95rem; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem .9rem; list-style: none; margin: .25rem 0; padding: 0; }
.legend { font-size: .8rem; color: var(--soft); min-height: 1.2rem; }
.legend svg { width: 1.6rem; height: .7rem; vertical-align: baseline; margin-right: .3rem; }
svg { display: block; width: 100%; height: auto; overflow: hidden; }
.legend svg, .forest { display: inline-block; }
.forest { width: 8rem; height: .9rem; vertical-align: middle; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg text.label { fill: var(--ink); }
.grid { stroke: var(--line); stroke-width: 1; }
.zero { stroke: var(--soft); stroke-width: 1; }
.ideal { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 4 3; fill: none; }
.mark { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 2 3; }
.hint { fill: var(--warning); }
svg text.hint { fill: var(--warning); font-weight: 700; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.dashed { stroke-dasharray: 6 3; }
.dotted { stroke-dasharray: 1.5 3; }
.dash-dot { stroke-dasharray: 9 3 2 3; }
.area { fill-opacity: .22; stroke-width: 1.5; }
.dot { fill-opacity: .45; stroke: none; }
.point { stroke: none; }
.s0 { stroke: var(--c0); } .f0 { fill: var(--c0); }
.s1 { stroke: var(--c1); } .f1 { fill: var(--c1); }
.s2 { stroke: var(--c2); } .f2 { fill: var(--c2); }
.s3 { stroke: var(--c3); } .f3 { fill: var(--c3); }
.s4 { stroke: var(--c4); } .f4 { fill: var(--c4); }
.s5 { stroke: var(--c5); } .f5 { fill: var(--c5); }
.s6 { stroke: var(--c6); } .f6 { fill: var(--c6); }
.s7 { stroke: var(--c7); } .f7 { fill: var(--c7); }
dl { display: grid; grid-template-columns: fit-content(22rem) 1fr; gap: .15rem 1rem; }
dl { margin: .5rem 0; font-size: .9rem; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; }
code { font: .9em ui-monospace, monospace; }
nav { font-size: .9rem; margin: .5rem 0; }
nav a { margin-right: .9rem; color: var(--info); white-space: nowrap; }
.verdict { font-size: 1.05rem; }
.sample { border-top: 1px solid var(--line); padding: .4rem 0; }
@media print {
  html { font-size: 10px; }
  body { font-size: 10px; }
  main { max-width: none; padding: 0; }
  .charts { grid-template-columns: 1fr 1fr; }
  .example::details-content { content-visibility: visible; block-size: auto; }
  figure, article, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  nav { display: none; }
}
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .35rem; }
  thead { display: none; }
  tr { display: block; border-bottom: 1px solid var(--line); padding: .35rem 0; }
  td.number { white-space: normal; }
  td, td.number { display: grid; grid-template-columns: 7rem 1fr; border: 0; padding: .1rem 0; text-align: left; }
  td::before { content: attr(data-name); color: var(--soft); }
}
"""
