// What /events and /api/ say, shown. A number that /metrics has, too, carries that series' name (data-metric) and the
// value as it is (data-value); "sum:" stands before what is a sum over a family. Text from outside goes in as text only.
'use strict';
(() => {
const $ = id => document.getElementById(id);
const root = document.documentElement;
const every = 1000, stale_after = 4000, devices_every = 5000, end_every = 10000;

// ---- small tools
function make(tag, kind, ...kids) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  node.append(...kids);
  return node;
}
// What turns the direction of a line round is shown as its number: a device's name must not turn what stands behind it.
const upright = words => String(words).replace(/[\u202a-\u202e\u2066-\u2069]/g, mark => `\\u${mark.charCodeAt(0).toString(16)}`);
function put(node, words) {
  const said = upright(words);
  if (node.textContent !== said) node.textContent = said;
}
function dress(node, kind) { if (node.className !== kind) node.className = kind; }
function shape(svg, tag, marks) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(marks)) node.setAttribute(name, value);
  svg.append(node);
}
// A number on the page, and where /metrics has it.
function figure(node, value, words, metric) {
  put(node, words);
  node.dataset.value = value;
  if (metric && node.dataset.metric !== metric) { node.dataset.metric = metric; node.title = metric.replace('sum:', 'sum of '); }
}
const series = (name, labels) => `millrace_${name}{${Object.entries(labels).map(([k, v]) => `${k}="${v}"`).join(',')}}`;
const grouped = n => Math.round(n).toLocaleString('en');
function rate(n) { return n === 0 ? '0' : n < 0.05 ? '<0.1' : n < 10 ? n.toFixed(1) : grouped(n); }
function size(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  while (bytes >= 1024 && at < 4) bytes /= 1024, ++at;
  return `${at === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)} ${units[at]}`;
}
function span(s) {
  if (s === null || s === undefined) return '–';
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}
const brief = s => s < 1 ? `${Math.round(s * 1000)} ms` : span(s);
function moment(time) {
  const clock = time.toLocaleTimeString([], {hour: '2-digit', minute: '2-digit', hour12: false});
  return time.toDateString() === new Date().toDateString() ? clock : `${time.toLocaleDateString()} ${clock}`;
}
const sum = (list, of) => list.reduce((all, one) => all + of(one), 0);

// Keeps one child for each item, in their order; a child that stays is the same node, so that focus and selection stay. Of items of
// one key (two certificates of one name) one does.
function keep(parent, items, key, born, show) {
  const there = new Map([...parent.children].map(node => [node.dataset.key, node])), stay = new Set();
  let before = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let node = there.get(name);
    there.delete(name);
    if (!node) { node = born(item); node.dataset.key = name; }
    stay.add(node);
    if (node === before) before = before.nextElementSibling;
    else parent.insertBefore(node, before);
    show(node, item);
  }
  for (const node of [...parent.children]) if (!stay.has(node)) node.remove();
}
// `columns`: [head, class, show(cell, item)]
function table(node, columns, items, key, none) {
  if (!node.tHead) {
    node.append(make('thead', '', make('tr', '', ...columns.map(([head, kind]) => { const th = make('th', kind === 'n' ? 'n' : '', head); th.scope = 'col'; return th; }))), make('tbody'));
  }
  const rows = items.length ? items : [null];
  keep(node.tBodies[0], rows, item => item ? key(item) : '', item => {
    if (!item) { const td = make('td', 'dim wide', none); td.colSpan = columns.length; return make('tr', '', td); }
    return make('tr', '', ...columns.map(([head, kind]) => { const td = make('td', kind); td.dataset.head = head; return td; }));
  }, (row, item) => item && columns.forEach(([, , show], at) => show(row.cells[at], item)));
}

// ---- pictures
function area(svg, values) {
  const n = values.length, top = Math.max(...values.map(v => v || 0)) || 1;
  svg.replaceChildren();
  svg.setAttribute('viewBox', `0 0 ${n} 100`);
  svg.setAttribute('preserveAspectRatio', 'none');
  const y = v => (97 - 92 * v / top).toFixed(1);
  for (let from = 0; from < n; ++from) {
    if (values[from] === null) continue;
    let to = from, points = '';
    for (; to < n && values[to] !== null; ++to) points += ` ${to + 0.5},${y(values[to])}`;
    const flat = to === from + 1 ? ` ${from},${y(values[from])} ${to},${y(values[from])}` : points;
    shape(svg, 'polygon', {class: 'area', points: `${from + (to > from + 1 ? 0.5 : 0)},100${flat} ${to - (to > from + 1 ? 0.5 : 0)},100`});
    shape(svg, 'polyline', {class: 'line', points: flat});
    from = to;
  }
}
function strip(svg, kinds) {
  svg.replaceChildren();
  svg.setAttribute('viewBox', `0 0 ${kinds.length} 10`);
  svg.setAttribute('preserveAspectRatio', 'none');
  for (let from = 0, to; from < kinds.length; from = to) {
    for (to = from; to < kinds.length && kinds[to] === kinds[from]; ++to);
    if (kinds[from]) shape(svg, 'rect', {class: kinds[from], x: from, y: 0, width: to - from, height: 10});
  }
}

// ---- what is wrong
function verdict(s) {
  const wrong = s.faults.length, person = s.faults.some(f => f.somebody_must_act);
  const kind = wrong ? (person ? 'bad' : 'warn') : s.ready ? 'good' : 'warn';
  dress($('verdict'), `verdict ${kind}`);
  put($('verdict-icon'), wrong ? '!' : s.ready ? '✓' : '…');
  put($('verdict-words'), wrong ? `${wrong} thing${wrong > 1 ? 's are' : ' is'} wrong${person ? ', and somebody must act' : ''}` : s.ready ? 'All is well' : 'It is starting, or stopping');
  const waiting = sum(s.uplinks, u => u.backlog_records), lost = lost_of(s);
  put($('verdict-more'), wrong ? (waiting && !s.log.blocked ? `${grouped(waiting)} records wait in the log${lost ? '' : '; none is lost'}.` : '')
    : `${s.inputs.length} input${s.inputs.length === 1 ? '' : 's'}, ${s.uplinks.length} uplink${s.uplinks.length === 1 ? '' : 's'}, everything that came is ${waiting ? 'on its way' : 'delivered'}.`);
  keep($('faults'), s.faults, f => f.id, () => make('li', '', make('b'), make('span', 'next', 'Next: '), make('span'), make('span', 'since')), (node, f) => {
    dress(node, f.somebody_must_act ? 'bad' : 'warn');
    put(node.children[0], f.what);
    put(node.children[2], f.next);
    put(node.children[3], ` Since ${moment(new Date(f.since))} (${span(f.lasts_seconds)}).`);
  });
  const colour = {good: '#1a9a55', warn: '#e09a16', bad: '#d2362c'}[kind];
  const icon = `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${colour}"/></svg>`)}`;
  if ($('icon').getAttribute('href') !== icon) $('icon').href = icon;
  const title = `${wrong ? `(${wrong}) ` : ''}${s.gateway} – Millrace`;
  if (document.title !== title) document.title = title;
}

// ---- figures
const undelivered = ['expired', 'evicted', 'unreadable'];
function lost_of(s) { return s.log.vanished_records + sum(s.uplinks, u => sum(u.lanes, l => sum(undelivered, how => l[how] || 0))); }
function tile(name, title) {
  const id = `tile-${name}`;
  if (!$(id)) {
    const node = make('div', '', make('dt', '', title), make('dd', 'big'), make('dd', 'more'));
    node.id = id;
    $('tiles').append(node);
  }
  return $(id).children;
}
function plot(name, values, amber) {
  const node = $(`tile-${name}`);
  if (!node || !values) return;
  if (!node.querySelector('svg')) {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('aria-hidden', 'true');
    if (amber) svg.setAttribute('class', 'amber');
    node.append(svg);
  }
  area(node.querySelector('svg'), values);
}
function parts(node, ...list) {
  keep(node, list.map((part, at) => [String(at), part]), p => p[0], ([, part]) => make(part[0] === ' ' && node.className.startsWith('big') ? 'small' : 'span'),
    (span, [, part]) => Array.isArray(part) ? figure(span, ...part) : put(span, part));
}
function tiles(s) {
  let [, big, more] = tile('in', 'Coming in');
  parts(big, rate(s.log.rate), ' a second');
  parts(more, [s.log.records, grouped(s.log.records), 'millrace_log_records_total'], ' since the start');

  [, big, more] = tile('waiting', 'Waiting to be sent');
  const waiting = sum(s.uplinks, u => u.backlog_records), etas = s.uplinks.map(u => u.eta_seconds);
  figure(big, waiting, grouped(waiting), 'sum:millrace_uplink_backlog_records');
  const held = s.uplinks.some(u => u.backlog_records > 0 && !u.healthy);
  put(more, waiting === 0 ? 'everything is delivered' : held ? 'until the far side is back' : etas.includes(null) ? 'it grows' : `done in ${span(Math.max(...etas))}`);
  dress(more, waiting && (held || etas.includes(null)) ? 'more warn-text' : 'more');

  [, big, more] = tile('out', 'Delivered');
  const sent = sum(s.uplinks, u => u.sent);
  parts(big, rate(sum(s.uplinks, u => u.rate)), ' a second');
  parts(more, [sent, grouped(sent), 'sum:millrace_uplink_records_total'], ' since the start');

  const live = s.uplinks.flatMap(u => (u.latency || []).filter(l => l.traffic === 'live' && l.recent_records > 0));
  if (s.uplinks.some(u => u.latency)) {
    [, big, more] = tile('late', 'From here to there, 99 % within');
    const worst = live.reduce((a, b) => !a || b.recent_p99_seconds > a.recent_p99_seconds ? b : a, null);
    put(big, worst ? brief(worst.recent_p99_seconds) : '–');
    put(more, worst ? `half within ${brief(worst.recent_p50_seconds)}; of what came while the way was open` : 'nothing was delivered live lately');
  }

  [, big, more] = tile('log', 'Room in the log');
  const full = s.log.bytes_max ? s.log.bytes_used / s.log.bytes_max : 0;
  parts(big, `${Math.round(100 * full)} %`, ' used');
  parts(more, [s.log.bytes_used, size(s.log.bytes_used), 'millrace_log_bytes'], ' of ', [s.log.bytes_max, size(s.log.bytes_max), 'millrace_log_max_bytes'],
    s.log.room_seconds ? `; an outage of ${span(s.log.room_seconds)} fits` : '');
  const node = $('tile-log');
  if (!node.querySelector('.meter')) node.append(make('dd', 'meter', make('i')));
  node.querySelector('.meter i').style.width = `${Math.min(100, 100 * full)}%`;

  [, big, more] = tile('lost', 'Lost');
  const lost = lost_of(s);
  figure(big, lost, grouped(lost));
  dress(big, lost ? 'big bad-text' : 'big');
  const refused = sum(s.uplinks, u => u.refused), unread = sum(s.inputs, i => i.undecodable);
  parts(more, lost ? 'each is told north; ' : 'of all that was accepted; ', [refused, grouped(refused), 'sum:millrace_uplink_refused_records_total'], ' refused, ',
    [unread, grouped(unread), 'sum:millrace_input_undecodable_total'], ' unreadable, kept');
}

// ---- uplinks and inputs
const small = (td, name, kind) => { if (!td.firstChild) td.append(make('span'), make('small')); put(td.firstChild, name); put(td.lastChild, kind); };
const state = (td, good, bad, words, more) => {
  if (!td.firstChild) td.append(make('span'), make('span'), make('small'));
  dress(td.children[0], `dot ${good ? 'good' : bad ? 'bad' : 'warn'}`);
  put(td.children[1], words);
  put(td.children[2], more);
};
function lanes(td, u) {
  keep(td, u.lanes, l => l.lane, () => make('div', 'dim'), (node, l) => {
    const facts = [['unsettled', 'waiting', 'ledger_unsettled_records'], ...['delivered', 'dead', ...undelivered, 'forgotten', 'skipped'].map(how => [how, how])]
      .filter(([name]) => l[name] || name === 'unsettled' || name === 'delivered');
    if (!node.firstChild) node.append(make('b', 'chip', l.lane), make('span'));
    keep(node.lastChild, facts, f => f[0], () => make('span', 'chip', make('b'), make('span')), (chip, [name, words, own]) => {
      const labels = {uplink: u.name, lane: l.lane};
      figure(chip.firstChild, l[name] || 0, grouped(l[name] || 0), own ? series(own, labels) : series('ledger_settled_records', {...labels, how: name}));
      put(chip.lastChild, ` ${words}`);
      dress(chip, undelivered.includes(name) ? 'chip bad-text' : name === 'dead' ? 'chip warn-text' : 'chip');
    });
  });
}
function late(td, u) {
  const live = (u.latency || []).filter(l => l.traffic === 'live' && l.recent_records > 0);
  put(td, live.length ? brief(Math.max(...live.map(l => l.recent_p99_seconds))) : '–');
  td.title = live.map(l => `${l.lane} ${brief(l.recent_p99_seconds)}`).join(', ');
}
function link(td, u) {
  if (u.wire_sent_bytes === undefined) return put(td, '–');
  put(td, size(u.wire_sent_bytes));
  td.title = `${size(u.wire_sent_bytes)} sent, ${size(u.wire_received_bytes)} received since the start, as TCP carries them`;
}
const uplink_columns = [
  ['uplink', 'name', (td, u) => small(td, u.name, u.kind)],
  ['', 'state', (td, u) => state(td, u.healthy, u.blocked, u.state, [u.breaker_open ? 'it waits before it tries again' : '', u.healthy && u.last_error ? `last error ${span(u.last_error_age_seconds)} ago: ${u.last_error}` : '',
    u.size_limit || ''].filter(Boolean).join('; '))],
  ['waiting', 'n', (td, u) => figure(td, u.backlog_records, grouped(u.backlog_records), series('uplink_backlog_records', {uplink: u.name}))],
  ['a second', 'n', (td, u) => put(td, rate(u.rate))],
  ['done in', 'n', (td, u) => put(td, u.backlog_records === 0 || !u.healthy ? '–' : u.eta_seconds === null ? 'it grows' : span(u.eta_seconds))],
  ['99 % within', 'n', late],
  ['delivered', 'n', (td, u) => figure(td, u.sent, grouped(u.sent), series('uplink_records_total', {uplink: u.name}))],
  ['on the link', 'n', link],
  ['by lane', 'wide', lanes],
];
const input_columns = [
  ['input', 'name', (td, i) => small(td, i.name, i.kind)],
  ['', 'state', (td, i) => state(td, i.healthy && !i.silent, i.blocked, i.state, i.unread ? `unreadable ${span(i.unread.age_seconds)} ago on ${i.unread.channel}: ${i.unread.reason}` : '')],
  ['a second', 'n', (td, i) => put(td, rate(i.rate))],
  ['last seen', 'n', (td, i) => { put(td, span(i.last_seen_seconds)); dress(td, i.silent ? 'n warn-text' : 'n'); }],
  ['devices', 'n', (td, i) => figure(td, i.devices, grouped(i.devices), series('input_devices', {input: i.name}))],
  ['silent', 'n', (td, i) => { figure(td, i.silent_devices, grouped(i.silent_devices), series('input_silent_devices', {input: i.name})); dress(td, i.silent_devices ? 'n warn-text' : 'n'); }],
  ['came', 'n', (td, i) => i.completeness === null ? put(td, '–') : figure(td, i.completeness, `${(100 * i.completeness).toFixed(i.completeness < 0.995 ? 1 : 0)} %`)],
  ['payloads', 'n', (td, i) => figure(td, i.payloads, grouped(i.payloads), series('input_payloads_total', {input: i.name}))],
  ['records', 'n', (td, i) => figure(td, i.records, grouped(i.records), series('input_records_total', {input: i.name}))],
  ['unreadable', 'n', (td, i) => { figure(td, i.undecodable, grouped(i.undecodable), series('input_undecodable_total', {input: i.name})); dress(td, i.undecodable ? 'n warn-text' : 'n'); }],
];

// ---- the box
function box(s) {
  const first = s.certificates[0], left = first && first.expires_in_seconds;
  const facts = [
    ['Clock', `${s.at.slice(0, 19).replace('T', ' ')} UTC, ${s.clock_trusted ? 'trusted' : 'not trusted'}: ${s.clock}`, s.clock_trusted ? '' : 'bad-text'],
    ['Disk', s.log.disk_bytes ? `${size(s.log.disk_free_bytes)} free of ${size(s.log.disk_bytes)} under ${s.log.path}` : s.log.path, s.log.trouble ? 'bad-text' : ''],
    ['Flash', `${s.flash.bytes_per_day ? `${size(s.flash.bytes_per_day)} a day, ` : ''}${size(s.flash.bytes_per_record)} a record${s.flash.life_used_percent === undefined ? '' : `; ${s.flash.device} has used ${s.flash.life_used_percent} % of its life`}`],
    ['Memory and processor', `${size(s.resident_bytes)}, ${span(s.cpu_seconds)} of CPU in ${span(s.uptime_seconds)}`],
    ['Connections', `${s.open_descriptors} of ${s.descriptors_max} descriptors`],
    ['Inbox', `${Math.round(100 * s.inbox_fill)} % full`],
  ];
  const b = s.box, warm = [b.load === null ? '' : `load ${b.load.toFixed(2)}`, b.celsius === null ? '' : `${Math.round(b.celsius)} °C`, b.memory_bytes ? `${size(b.memory_left_bytes)} of ${size(b.memory_bytes)} memory free` : ''];
  facts.push(['The machine', warm.filter(Boolean).join(', ')]);
  if (s.log.dead_bytes) facts.push(['Dead letters', size(s.log.dead_bytes)]);
  if (first) facts.push(['Certificates', `${s.certificates.length}; the first to expire: ${first.subject} (${first.of}, ${first.key}) ${left > 0 ? `in ${span(left)}` : `expired ${span(-left)} ago`}`, left < 0 ? 'bad-text' : left < 2592000 ? 'warn-text' : '']);
  for (const w of s.windows) facts.push([`Window ${w.name}`, `${grouped(w.keys)} of ${grouped(w.keys_max)} keys, ${size(w.state_bytes)} of ${size(w.state_max)}`, w.refused_readings ? 'warn-text' : '']);
  for (const l of s.left_sessions) facts.push([`Sessions left at ${l.place}`, grouped(l.sessions)]);
  keep($('box'), facts, f => f[0], f => make('div', '', make('dt', '', f[0]), make('dd')), (node, [, words, kind]) => { put(node.lastChild, words); dress(node.lastChild, kind || ''); });
  put($('absent'), s.absent_uplinks.map(a => `${a.name} is not in the configuration; ${grouped(a.records)} records are kept for it until ${a.forgotten_after.slice(0, 10)}.`).join(' '));
}

// ---- how it went
let past = null, day = false, chosen_by_hand = false;
const was_words = ['not recorded', 'up', 'in trouble', 'somebody must act'];
function picture() {
  if (!past) return;
  const p = day ? past.day : past.quarter, n = p.in.length;
  area($('chart-in'), p.in);
  area($('chart-waiting'), p.waiting);
  $('chart-waiting').setAttribute('class', 'amber');
  strip($('chart-lost'), p.lost.map(v => v > 0 ? 'lost' : v === null ? 'was0' : 'was1'));
  const top = (list, show) => { const most = Math.max(...list.map(v => v || 0)); return most ? `most ${show(most)}` : 'none'; };
  put($('max-in'), top(p.in, rate));
  put($('max-waiting'), top(p.waiting, grouped));
  const lost = sum(p.lost, v => v || 0);
  put($('max-lost'), lost ? grouped(lost) : 'none');
  keep($('strips'), past.uplinks, u => u.name, u => {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('class', 'strip');
    svg.setAttribute('aria-hidden', 'true');
    return make('div', 'lane', make('span', '', `Uplink ${u.name} `, make('b')), svg);
  }, (node, u) => {
    const was = [...(day ? u.day : u.quarter)];
    const down = was.filter(c => c > '1').length * p.step_seconds;
    put(node.querySelector('b'), down ? `in trouble for ${span(down)}` : '');
    strip(node.lastChild, was.map(c => `was${c}`));
  });
  const seconds = (n - 1) * p.step_seconds, marks = 4;
  $('axis').replaceChildren(...Array.from({length: marks + 1}, (_, at) => make('span', '', at === marks ? 'now' : day ? moment(new Date(past.at - 1000 * seconds * (1 - at / marks))).slice(-5) : `−${Math.round(seconds * (1 - at / marks) / 60)} min`)));
  const range = $('when');
  const at_end = range.value === range.max;
  range.max = n - 1;
  if (at_end) range.value = n - 1;
  tell_moment();
}
function tell_moment() {
  const p = day ? past.day : past.quarter, n = p.in.length;
  let at = Number($('when').value);
  if (at === n - 1 && p.in[at] === null && at > 0) --at;  // the step that runs was not looked at yet
  const begin = new Date(past.at - 1000 * (p.into_step_seconds + (n - 1 - at) * p.step_seconds));
  const words = p.in[at] === null ? 'not recorded' : [`${rate(p.in[at])} readings a second`, `${grouped(p.waiting[at])} waiting`, p.lost[at] ? `${grouped(p.lost[at])} lost` : 'none lost',
    ...past.uplinks.map(u => `${u.name} ${was_words[(day ? u.day : u.quarter)[at]]}`)].join(' · ');
  put($('moment'), `${moment(begin)}: ${words}`);
  $('when').setAttribute('aria-valuetext', $('moment').textContent);
  $('cursor').style.left = `${100 * (at + 0.5) / n}%`;
}
async function ask(path) {
  const answer = await fetch(path, {cache: 'no-store'});
  if (!answer.ok) throw new Error(await answer.text());
  return read(await answer.text());
}
// A browser's numbers have 53 bits: of a larger one its digits are kept, where the browser shows them.
function read(json) {
  return JSON.parse(json, (name, value, from) =>
    typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value) && from && /^-?\d+$/.test(from.source) ? from.source : value);
}
async function look_back() {
  try {
    past = await ask('/api/history');
    past.at = Date.now();
    if (!chosen_by_hand) day = past.day.in.filter(v => v !== null).length > 24;
    press();
    picture();
    plots();
  } catch { /* the stream says that nobody answers */ }
}
function plots() {
  if (!past) return;
  plot('in', past.quarter.in);
  plot('waiting', past.quarter.waiting, true);
}
function press() {
  $('show-day').setAttribute('aria-pressed', day);
  $('show-quarter').setAttribute('aria-pressed', !day);
}
function show_span(which) { day = which; chosen_by_hand = true; $('when').value = $('when').max; press(); picture(); }

// ---- devices
// All digits that a value has: meters count on. A float of 32 bits that came as one of 64 (21.299999237060547) has as many as mean it.
function exact(v) {
  const plain = String(v);
  if (typeof v !== 'number' || plain.length < 15 || Math.fround(v) !== v) return plain;
  for (let digits = 1; digits < 9; ++digits) if (Math.fround(v.toPrecision(digits)) === v) return String(Number(v.toPrecision(digits)));
  return String(Number(v.toPrecision(9)));
}
// Of values of one metric, by devices of one name at two places: the tags in which they differ.
const place = (v, all) => Object.entries(v.tags || {})
  .filter(([name, tag]) => all.some(o => o.metric === v.metric && (o.tags || {})[name] !== tag)).map(([name, tag]) => `${name}=${tag} `).join('');
const all_tags = v => Object.entries(v.tags || {}).map(([name, tag]) => `, ${name}=${tag}`).join('');
let most = 15, devices_shown_at = 0;
const device_columns = [
  ['device', 'name', (td, d) => put(td, d.name)],
  ['input', 'dim extra', (td, d) => put(td, d.input)],
  ['last seen', 'n', (td, d) => { put(td, span(d.last_seen_seconds)); dress(td, d.silent ? 'n bad-text' : 'n'); }],
  ['as a rule every', 'n extra', (td, d) => put(td, d.usual_seconds ? span(d.usual_seconds) : '–')],
  ['came', 'n extra', (td, d) => { put(td, d.completeness === undefined ? '–' : `${(100 * d.completeness).toFixed(d.completeness < 0.995 ? 1 : 0)} %`); td.title = 'of the messages that were due in the last hour or two: by expected_interval, else by its habit'; dress(td, d.completeness < 0.98 ? 'n extra warn-text' : 'n extra'); }],
  ['readings', 'n extra', (td, d) => put(td, grouped(d.readings))],
  ['latest values', 'wide', (td, d) => keep(td, d.values, v => JSON.stringify([v.metric, v.tags]), () => make('span', 'chip', make('span', 'dim'), make('b'), make('span', 'dim')), (chip, v) => {
    put(chip.children[0], `${v.metric} ${place(v, d.values)}`);
    put(chip.children[1], exact(v.value).slice(0, 60));
    put(chip.children[2], `${v.unit ? ` ${v.unit}` : ''}`);
    chip.title = `${v.time}, number ${v.number}${v.quality ? `, quality ${v.quality}` : ''}${all_tags(v)}`;
    dress(chip, v.quality ? 'chip warn-text' : 'chip');
  })],
  ['', '', (td, d) => { put(td, d.silent ? 'silent' : d.pulse === 'late' ? 'late' : ''); dress(td, d.silent ? 'bad-text' : 'warn-text'); }],
];
async function devices() {
  devices_shown_at = Date.now();
  try {
    const wish = new URLSearchParams({part: $('part').value, sort: $('sort').value, max: most});
    const answer = await ask(`/api/devices?${wish}`), list = answer.list.devices;
    for (const d of list) d.values = answer.values.filter(v => v.device === d.name);
    table($('devices'), device_columns, list, d => `${d.input} ${d.name}`, answer.list.known ? 'No device fits.' : 'No device has spoken yet.');
    put($('devices-more'), list.length < answer.list.fitting ? `${list.length} of ${grouped(answer.list.fitting)} that fit` : `${grouped(answer.list.fitting)} of ${grouped(answer.list.known)} devices`);
    $('more').hidden = list.length >= answer.list.fitting || most >= 500;
  } catch { /* the next look */ }
}

// ---- what lies at the log's end: alarms, and dead letters
// `name`: of the table, its note and its button; `note`: of what is shown.
function pager(name, columns, none, note) {
  const self = {at: 0};
  let from = '', next = 0;
  self.look = async () => {
    self.at = Date.now();
    try {
      const answer = await ask(`/api/${name}?from=${from}`);
      const list = answer.lines.split('\n').filter(Boolean).map(read);
      table($(name), columns, list, one => String(one.number), from ? 'No older ones.' : none);
      next = answer.next;
      $(`${name}-older`).hidden = !next && !from;
      put($(`${name}-older`), next ? 'Older ones' : 'The newest');
      put($(`${name}-more`), note(list));
    } catch { /* the next look */ }
  };
  $(`${name}-older`).addEventListener('click', () => { from = next ? String(next) : ''; self.look(); });
  return self;
}
const came = (td, record) => { put(td, moment(new Date(record.time))); td.title = record.time; };
function happened(r) {
  if (!r.loss) return `${r.metric || ''}${r.value === null || r.value === undefined ? '' : `: ${exact(r.value).slice(0, 300)}`}${r.unit ? ` ${r.unit}` : ''}`;
  const whose = Object.entries(r.loss.devices).slice(0, 5).map(([device, count]) => `${device} ${grouped(count)}`).join(', ');
  return `${grouped(r.loss.count)} lost${r.loss.consumer ? ` to ${r.loss.consumer}` : ''}: ${r.loss.reason}${whose ? ` (${whose})` : ''}`;
}
const alarms = pager('alarms', [
  ['number', 'n', (td, r) => put(td, String(r.number))],
  ['came', '', came],
  ['device', 'name', (td, r) => { put(td, r.device || ''); td.title = all_tags(r).slice(2); }],
  ['what', 'state', (td, r) => { put(td, happened(r)); dress(td, r.loss ? 'state bad-text' : 'state'); }],
], 'None lately.', list => list.length ? 'Of the alarm lane, as far as it is still in the log: what was delivered is given back.' : '');
let dead_bytes = -1;
const letters = pager('letters', [
  ['number', 'n', (td, l) => put(td, String(l.number))],
  ['came', '', came],
  ['from', 'name', (td, l) => small(td, `${l.source || ''} ${l.from}`, l.channel)],
  ['why', 'state', (td, l) => put(td, `${l.reason}${l.partly ? ' (the rest of it has entered)' : ''}`)],
  ['payload', 'wide payload mono', (td, l) => put(td, l.payload + (l.size > 256 ? ` … ${size(l.size)}` : ''))],
], 'None: everything could be read and was taken.', list => {
  const ours = latest && latest.instance ? `millrace --instance ${latest.instance}` : 'millrace';
  return list.length ? `Whole payloads: ${ours} dlq show NUMBER. Once the reason is mended: ${ours} dlq retry --all.` : '';
});

// ---- live
let heard = 0, trouble = '', latest = null;
function show(s) {
  latest = s;
  heard = Date.now();
  put($('name'), s.gateway);
  put($('about'), `millrace ${s.version}, up ${span(s.uptime_seconds)}`);
  root.dataset.at = s.at;
  verdict(s);
  tiles(s);
  table($('uplinks'), uplink_columns, s.uplinks, u => u.name, 'No uplink is configured: nothing is forwarded.');
  table($('inputs'), input_columns, s.inputs, i => i.name, 'No input is configured: nothing is collected.');
  box(s);
  live();
  if (!$('tile-in').querySelector('svg')) plots();
}
function live() {
  const silent = Date.now() - heard > stale_after;
  const words = !heard ? trouble || 'connecting' : silent ? `no answer since ${new Date(heard).toLocaleTimeString([], {hour12: false})}` : trouble || 'live';
  put($('link'), words);
  dress($('link'), `pill ${silent ? 'lost' : 'live'}`);
  dress(document.body, heard && silent ? 'stale' : '');
}
// One tab has the stream and tells the others: a browser opens six connections to a place and no more. When it goes the next one
// takes over (Web Locks).
const channel = 'BroadcastChannel' in window ? new BroadcastChannel('millrace') : null;
if (channel) channel.onmessage = message => show(JSON.parse(message.data));
let events = null;
function stream() {
  events = new EventSource('/events');
  events.addEventListener('state', event => {
    trouble = '';
    show(JSON.parse(event.data));
    if (channel) channel.postMessage(event.data);
  });
  events.onerror = () => {
    if (events.readyState !== EventSource.CLOSED) return;
    // Refused: it is asked for seldom instead, and the stream again later.
    trouble = 'slow: too many tabs';
    ask('/api/status').then(s => { show(s); if (channel) channel.postMessage(JSON.stringify(s)); }, () => {})
      .finally(() => setTimeout(stream, stale_after - 1000));
  };
}
// A page that is left may be kept by the browser, and its stream with it.
addEventListener('pagehide', () => { if (events) events.close(); });
addEventListener('pageshow', event => { if (event.persisted && events) stream(); });
if (channel && navigator.locks) navigator.locks.request('millrace', () => new Promise(stream));
else stream();

const in_sight = new Map();
const sight = new IntersectionObserver(entries => { for (const e of entries) in_sight.set(e.target.id, e.isIntersecting); look_around(); });
sight.observe($('devices-card'));
sight.observe($('alarms-card'));
sight.observe($('letters-card'));
function look_around() {
  if (document.hidden || (heard && Date.now() - heard > stale_after)) return;
  if (in_sight.get('devices-card') && Date.now() - devices_shown_at >= devices_every) devices();
  if (in_sight.get('alarms-card') && Date.now() - alarms.at >= end_every) alarms.look();
  const more_dead = latest && latest.log.dead_bytes !== dead_bytes;
  if (in_sight.get('letters-card') && (Date.now() - letters.at >= end_every || more_dead)) {
    if (latest) dead_bytes = latest.log.dead_bytes;
    letters.look();
  }
}
let looked_back = 0;
setInterval(() => {
  live();
  look_around();
  if (!document.hidden && Date.now() - looked_back >= 10000) { looked_back = Date.now(); look_back(); }
}, every);
look_back();
looked_back = Date.now();

// ---- what a person does
let typing = 0;
$('part').addEventListener('input', () => { clearTimeout(typing); most = 15; typing = setTimeout(devices, 200); });
$('sort').addEventListener('change', devices);
$('more').addEventListener('click', () => { most = Math.min(500, most * 4); devices(); });
$('show-day').addEventListener('click', () => show_span(true));
$('show-quarter').addEventListener('click', () => show_span(false));
$('when').addEventListener('input', tell_moment);
$('chart').addEventListener('pointermove', event => {
  const box = $('chart').getBoundingClientRect(), n = Number($('when').max) + 1;
  $('when').value = Math.floor((event.clientX - box.left) / box.width * n);
  if (past) tell_moment();
});
const themes = {'': ['Auto', 'as the system has them'], light: ['Light', 'light'], dark: ['Dark', 'dark']};
function theme(which) {
  if (which) root.dataset.theme = which; else delete root.dataset.theme;
  put($('theme'), themes[which][0]);
  $('theme').setAttribute('aria-label', `Colours: ${themes[which][1]}`);
}
function next_theme() {
  const names = Object.keys(themes), next = names[(names.indexOf(root.dataset.theme || '') + 1) % names.length];
  theme(next);
  try { localStorage.setItem('theme', next); } catch { /* not kept then */ }
}
let kept = '';
try { kept = localStorage.getItem('theme') || ''; } catch { /* none is kept */ }
theme(kept in themes ? kept : '');
$('theme').addEventListener('click', next_theme);
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  if (event.key === '/') { event.preventDefault(); $('part').focus(); }
  if (event.key === 't') next_theme();
});
})();
