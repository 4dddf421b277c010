// The page of the bridge: the fleet as tiles, and live charts of one GPU.
//
// The fleet is read over REST every few seconds while the page is seen. A GPU's charts begin with
// its last hour over REST and go on over the WebSocket, which says at which revision it is: after a
// cut it goes on from there, so nothing is missing. Which GPU is shown stands in the address (#host/gpu).
'use strict';

const FLEET_MS = 5000;
const WINDOW_MS = 3600e3;
const BUCKET_MS = 2000;
const ROWS_A_PAGE = 1000;
const RETRY_MS = [500, 30000];

const CHARTS = [
	{ metric: 'DCGM_FI_DEV_GPU_UTIL', title: 'Utilisation', unit: '%', max: 100 },
	{ metric: 'DCGM_FI_DEV_FB_USED', title: 'Memory', unit: 'MiB', max: 81920 },
	{ metric: 'DCGM_FI_DEV_POWER_USAGE', title: 'Power', unit: 'W', max: 700 },
	{ metric: 'DCGM_FI_DEV_GPU_TEMP', title: 'Temperature', unit: '°C', max: 90 },
];

const $ = id => document.getElementById(id);
const placeOf = g => `${g.hostname}/${g.gpu_id}`;

function element(name, attributes = {}, ...children) {
	const e = document.createElement(name);
	for (const [k, v] of Object.entries(attributes))
		e.setAttribute(k, v);
	e.append(...children);
	return e;
}

// ---- the gateway ------------------------------------------------------------------------------

const TOKEN = 'gputel-token';

class SignInNeeded extends Error {}

async function get(path, signal) {
	const token = sessionStorage.getItem(TOKEN);
	const answer = await fetch(path, {
		signal, headers: token ? { Authorization: `Bearer ${token}` } : {},
	});
	if (answer.status === 401)
		throw new SignInNeeded();
	if (!answer.ok) {
		const problem = await answer.json().catch(() => ({}));
		throw new Error(problem.detail || problem.title || `status ${answer.status}`);
	}
	return answer.json();
}

// All pages of a list.
async function* pages(path, signal) {
	const base = path + (path.includes('?') ? '&' : '?') + `limit=${ROWS_A_PAGE}`;
	for (let cursor = ''; ;) {
		const page = await get(base + (cursor && `&cursor=${encodeURIComponent(cursor)}`), signal);
		yield page.data;
		if (!page.has_more)
			return;
		cursor = page.next_cursor;
	}
}

async function all(path, signal) {
	const rows = [];
	for await (const page of pages(path, signal))
		rows.push(...page);
	return rows;
}

// ---- fleet --------------------------------------------------------------------------------------

const fleet = { gpus: new Map(), values: new Map(), tiles: new Map(), timer: 0 };

function colouring() {
	return CHARTS[$('colour').selectedIndex];
}

function matches(g, words) {
	const text = `${g.hostname} ${g.gpu_id} ${g.model} ${g.uuid} ${g.state}`.toLowerCase();
	return words.every(w => text.includes(w));
}

function paintTile(tile, g) {
	const value = fleet.values.get(placeOf(g));
	const { title, unit, max } = colouring();
	const shown = value === undefined ? '–' : Math.round(value);

	if (tile.textContent !== String(shown))
		tile.textContent = shown;
	tile.dataset.state = g.state;
	tile.style.setProperty('--heat', value === undefined ? 0 : Math.min(1, Math.max(0, value / max)).toFixed(2));
	tile.title = `${placeOf(g)} · ${g.model} · ${g.state}`;
	tile.setAttribute('aria-label', `${g.hostname} GPU ${g.gpu_id}, ${g.state}, ${title} ` +
		(value === undefined ? 'unknown' : `${shown} ${unit}`));
}

// Makes the tiles anew where the set of GPUs has changed.
function layFleet() {
	const words = $('find').value.toLowerCase().split(/\s+/).filter(Boolean);
	const hosts = new Map();

	fleet.tiles.clear();
	for (const g of fleet.gpus.values()) {
		if (!matches(g, words))
			continue;
		const tile = element('button', { class: 'tile', type: 'button' });
		tile.addEventListener('click', () => { location.hash = `#${encodeURI(placeOf(g))}`; });
		fleet.tiles.set(placeOf(g), tile);
		if (!hosts.has(g.hostname))
			hosts.set(g.hostname, element('div', { class: 'tiles' }));
		hosts.get(g.hostname).append(tile);
	}
	$('hosts').replaceChildren(...[...hosts].map(([name, tiles]) =>
		element('div', { class: 'host' }, element('h3', { title: name }, name), tiles)));
	$('nothing').hidden = fleet.gpus.size > 0;
	paintFleet();
}

function paintFleet() {
	const counts = { live: 0, stale: 0, lost: 0 };

	for (const g of fleet.gpus.values())
		counts[g.state]++;
	for (const [place, tile] of fleet.tiles) {
		paintTile(tile, fleet.gpus.get(place));
		tile.setAttribute('aria-current', place === detail.place);
	}
	$('summary').textContent = `${fleet.gpus.size} GPUs: ${counts.live} live, ` +
		`${counts.stale} stale, ${counts.lost} lost`;
}

async function readFleet() {
	const [gpus, rows] = await Promise.all([
		all('/api/v1/gpus'),
		all(`/api/v1/telemetry/latest?metric=${colouring().metric}`),
	]);
	const before = [...fleet.gpus.keys()].join('\n');

	fleet.gpus = new Map(gpus.map(g => [placeOf(g), g]));
	fleet.values = new Map(rows.map(r => [placeOf(r), Number(r.value)]));
	if ([...fleet.gpus.keys()].join('\n') !== before)
		layFleet();
	else
		paintFleet();
}

async function refreshFleet() {
	clearTimeout(fleet.timer);
	try {
		await readFleet();
	} catch (e) {
		if (e instanceof SignInNeeded)
			return signIn();
		$('summary').textContent = `The gateway does not answer: ${e.message}`;
	}
	if (!document.hidden)
		fleet.timer = setTimeout(refreshFleet, FLEET_MS);
}

// ---- one GPU ------------------------------------------------------------------------------------

const detail = { place: null, gpu: null, charts: new Map(), latest: new Map(), rev: 0, abort: null, feed: null };

function clock(ms) {
	return new Date(ms).toISOString().slice(11, 19);
}

function makeChart(spec) {
	const style = getComputedStyle(document.documentElement);
	const colour = name => style.getPropertyValue(name).trim();
	const canvas = element('canvas', { role: 'img', 'aria-label': spec.title });
	const value = element('output');

	$('charts').append(element('figure', { 'data-metric': spec.metric },
		element('figcaption', {}, spec.title, value), element('div', { class: 'plot' }, canvas)));
	const axis = { grid: { color: colour('--line') }, ticks: { color: colour('--quiet'), maxTicksLimit: 6 } };
	const chart = new Chart(canvas, {
		type: 'line',
		data: { datasets: [{ data: [], borderColor: colour('--accent'), borderWidth: 1.5, pointRadius: 0 }] },
		options: {
			animation: false, parsing: false, normalized: true,
			responsive: true, maintainAspectRatio: false,
			interaction: { mode: 'nearest', axis: 'x', intersect: false },
			scales: {
				x: { type: 'linear', ...axis, ticks: { ...axis.ticks, maxRotation: 0, callback: clock } },
				y: { suggestedMin: 0, ...axis },
			},
			plugins: {
				legend: { display: false },
				decimation: { enabled: true, algorithm: 'min-max' },
				tooltip: { callbacks: {
					title: items => new Date(items[0].parsed.x).toISOString(),
					label: item => `${item.parsed.y} ${spec.unit}`,
				} },
			},
		},
	});
	return { spec, chart, value, canvas, points: chart.data.datasets[0].data, changed: false };
}

// Rows come in the order of commits; late ones are put where they belong. One point a bucket.
function addPoint(c, ms, y) {
	const x = Math.floor(ms / BUCKET_MS) * BUCKET_MS;
	let i = c.points.length;

	while (i > 0 && c.points[i - 1].x > x)
		i--;
	if (i > 0 && c.points[i - 1].x === x)
		c.points[i - 1].y = y;
	else
		c.points.splice(i, 0, { x, y });
	c.changed = true;
}

function addRow(row) {
	const c = detail.charts.get(row.metric_name), ms = Date.parse(row.timestamp), y = Number(row.value);
	const name = row.labels ? `${row.metric_name} ${JSON.stringify(row.labels)}` : row.metric_name;
	const known = detail.latest.get(name);

	if (!known || known.ms <= ms)
		detail.latest.set(name, { ms, value: row.value });
	if (c && !row.labels && Number.isFinite(y))
		addPoint(c, ms, y);
}

function drawChart(c) {
	const last = c.points[c.points.length - 1];

	if (!c.changed || !last)
		return;
	while (c.points[0].x < last.x - WINDOW_MS)
		c.points.shift();
	c.value.textContent = `${last.y} ${c.spec.unit}`;
	c.canvas.setAttribute('aria-label', `${c.spec.title}: ${last.y} ${c.spec.unit} at ${clock(last.x)}`);
	c.chart.update('none');
	c.changed = false;
}

function drawMetrics() {
	const names = [...detail.latest.keys()].sort();

	$('metrics').replaceChildren(...names.map(name => {
		const { ms, value } = detail.latest.get(name);
		return element('tr', {}, element('td', {}, name), element('td', {}, String(value)),
			element('td', {}, new Date(ms).toISOString()));
	}));
}

let drawing = false;

function draw() {
	if (drawing)
		return;
	drawing = true;
	requestAnimationFrame(() => {
		drawing = false;
		for (const c of detail.charts.values())
			drawChart(c);
		if ($('gpu').querySelector('details').open)
			drawMetrics();
	});
}

function closeDetail() {
	detail.abort?.abort();
	detail.feed?.close();
	for (const c of detail.charts.values())
		c.chart.destroy();
	Object.assign(detail, { place: null, gpu: null, charts: new Map(), latest: new Map(), rev: 0, feed: null });
	$('charts').replaceChildren();
	$('gpu').hidden = true;
	document.title = 'gputel';
}

// What is stored already, up to the last hour before the GPU's newest row.
async function readPast(g, signal) {
	const end = Date.parse(g.last_seen);
	const start = new Date(end - WINDOW_MS).toISOString();
	const wanted = CHARTS.map(c => `&metric=${c.metric}`).join('');
	const path = `/api/v1/gpus/${encodeURIComponent(placeOf(g).replace('/', ':'))}/telemetry`;

	for await (const rows of pages(`${path}?start_time=${start}&step=${BUCKET_MS / 1000}s&agg=last${wanted}`, signal)) {
		rows.forEach(addRow);
		draw();
	}
	const where = `host=${encodeURIComponent(g.hostname)}`;
	for (const row of await all(`/api/v1/telemetry/latest?${where}`, signal))
		if (row.gpu_id === g.gpu_id)
			addRow(row);
	draw();
}

async function openDetail(place) {
	closeDetail();
	const g = fleet.gpus.get(place);
	if (!g) {
		$('summary').textContent = `${place} is not in the fleet`;
		return;
	}
	detail.place = place;
	detail.gpu = g;
	detail.abort = new AbortController();
	$('gpu').hidden = false;
	$('gpu-title').textContent = place;
	$('gpu-about').textContent = [g.model, g.uuid, g.driver && `driver ${g.driver}`].filter(Boolean).join(' · ');
	$('gpu-log').href = `/api/v1/fs/${folder(g.hostname)}/${folder(g.gpu_id)}/telemetry.csv`;
	document.title = `${place} · gputel`;
	for (const spec of CHARTS)
		detail.charts.set(spec.metric, makeChart(spec));
	paintFleet();
	$('gpu').focus();
	detail.feed = new Feed(g);
	try {
		await readPast(g, detail.abort.signal);
	} catch (e) {
		if (e.name !== 'AbortError')
			$('summary').textContent = `${place}: ${e.message}`;
	}
}

// ---- the feed -----------------------------------------------------------------------------------

// One GPU's rows, for as long as it is open; goes on where it was after a cut.
class Feed {
	constructor(gpu) {
		this.gpu = gpu;
		this.rev = 0;
		this.wait = RETRY_MS[0];
		this.connect();
	}

	connect() {
		const token = sessionStorage.getItem(TOKEN);
		const url = new URL('/api/v1/ws/telemetry', location.href);
		url.protocol = url.protocol.replace('http', 'ws');
		url.searchParams.set('host', literal(this.gpu.hostname));
		url.searchParams.set('gpu', literal(this.gpu.gpu_id));
		if (this.rev)
			url.searchParams.set('since', this.rev);
		this.socket = new WebSocket(url, token ? ['gputel', `bearer.${token}`] : ['gputel']);
		this.socket.onmessage = m => this.take(JSON.parse(m.data));
		this.socket.onclose = () => this.closed();
	}

	take(frame) {
		if (frame.rows)
			frame.rows.forEach(addRow);
		else if (frame.rev !== undefined)
			this.opened();
		// Where the first frame stands all before is not yet here: what since asks for follows it.
		if (frame.rev !== undefined && !frame.more && (frame.rows || !this.rev))
			this.rev = frame.rev;
		draw();
	}

	// The first frame of a connection says from where on it is live.
	opened() {
		this.wait = RETRY_MS[0];
		$('link').className = 'on';
		$('link').textContent = 'live';
	}

	closed() {
		$('link').className = 'off';
		$('link').textContent = 'not connected';
		if (this.ended)
			return;
		this.timer = setTimeout(() => this.connect(), this.wait * (.5 + Math.random() / 2));
		this.wait = Math.min(2 * this.wait, RETRY_MS[1]);
	}

	close() {
		this.ended = true;
		clearTimeout(this.timer);
		this.socket.close(1000);
	}
}

// The folder of a host or GPU in the tree, as a part of a URL.
function folder(name) {
	const hex = b => `%${b.toString(16).toUpperCase().padStart(2, '0')}`;
	const encoded = [...new TextEncoder().encode(name)].map((b, i) => {
		const c = String.fromCharCode(b);
		return /[\w.:{}=",-]/.test(c) && !(i === 0 && c === '.') ? c : hex(b);
	});
	return encodeURIComponent(encoded.join(''));
}

// A glob that matches just this name.
function literal(name) {
	return name.replace(/[\\*?[\]]/g, c => `[${c}]`);
}

// ---- the page -----------------------------------------------------------------------------------

function signIn() {
	$('sign-in').hidden = false;
	$('summary').textContent = 'Signed out';
	$('token').focus();
}

function route() {
	const place = decodeURI(location.hash.slice(1));

	if (place)
		openDetail(place);
	else {
		closeDetail();
		paintFleet();
	}
}

function onKey(e) {
	if (e.key === 'Escape' && !$('gpu').hidden)
		location.hash = '';
	else if (e.key === '/' && !/INPUT|SELECT/.test(document.activeElement.tagName)) {
		e.preventDefault();
		$('find').focus();
	} else if (e.key.startsWith('Arrow') && document.activeElement.classList.contains('tile')) {
		const tiles = [...fleet.tiles.values()], at = tiles.indexOf(document.activeElement);
		const next = tiles[at + (e.key === 'ArrowRight' || e.key === 'ArrowDown' ? 1 : -1)];
		e.preventDefault();
		next?.focus();
	}
}

async function start() {
	$('colour').append(...CHARTS.map(c => element('option', {}, c.title)));
	$('colour').addEventListener('change', refreshFleet);
	$('find').addEventListener('input', layFleet);
	$('close').addEventListener('click', () => { location.hash = ''; });
	$('gpu').querySelector('details').addEventListener('toggle', draw);
	$('sign-in').addEventListener('submit', async e => {
		e.preventDefault();
		sessionStorage.setItem(TOKEN, $('token').value);
		$('sign-in').hidden = true;
		await refreshFleet();
		route();
	});
	addEventListener('keydown', onKey);
	addEventListener('hashchange', route);
	document.addEventListener('visibilitychange', () => document.hidden || refreshFleet());
	await refreshFleet();
	route();
}

start();
