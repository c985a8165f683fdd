"""The look of the page: one column, readable from 320 pixels on, light or dark as the reader's system is."""

STYLE = """
:root {
  --ground: #fdfdfc; --panel: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d8dee4; --bar: #4c78a8;
  --error: #b42318; --warning: #8a5a00; --info: #1f5f8b;
  --prompt: #e3edf7; --trained: #dcf0df; --not-trained: #eceef0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --panel: #1c2024; --ink: #e6e9ec; --soft: #9aa4ae; --line: #343b42; --bar: #6f9fd0;
    --error: #ff8a7a; --warning: #f0bd5b; --info: #7fc1ee;
    --prompt: #1d3349; --trained: #1c3d26; --not-trained: #2c3137;
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
summary { cursor: pointer; padding: .25rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
.number { text-align: right; padding-right: 1.5rem; }
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
@media (max-width: 40rem) {
  thead { display: none; }
  tr { display: block; border-bottom: 1px solid var(--line); padding: .35rem 0; }
  td, td.number { display: grid; grid-template-columns: 7rem 1fr; border: 0; padding: .1rem 0; text-align: left; }
  td::before { content: attr(data-name); color: var(--soft); }
}
"""
