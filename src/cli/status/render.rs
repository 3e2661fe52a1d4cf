//! The status in words: a pure function of the JSON that the server answers with.
//!
//! What a server of another version does not say is "-", and what it says beyond is left out.

use serde_json::Value;

use crate::cli::text::{
    Cell, Style, Tone, clean, counted, lag, list, number, or_dash, paragraph, short, short_bytes,
    size, span, table, text, whole,
};

/// Where the text begins, behind the labels.
const INDENT: usize = 11;

/// The limits, by their names in the configuration.
const LIMITS: [(&str, &str); 6] = [
    ("max_connections", "connections"),
    ("max_connections_per_address", "for each address"),
    ("new_sessions_per_second", "new sessions in a second"),
    ("rooms_per_socket", "rooms of a socket"),
    ("worker_memory_bytes", "memory of a worker"),
    ("open_files", "open files of a process"),
];

/// So many other machines are named.
const MACHINES: usize = 20;

/// The figures of a worker; wide enough for what stands above two of them.
const COLUMNS: [&str; 9] = [
    "poll", " ws", "  in", " out", "  in", " out", "memory", "lag", "queue",
];

/// All of it, each line with its end.
pub(super) fn status(status: &Value, style: Style, width: usize) -> String {
    let page = Page {
        status,
        style,
        width,
    };
    [
        page.headline(),
        page.reasons(),
        "\n".to_owned(),
        page.totals(),
        "\n".to_owned(),
        page.workers(),
        "\n".to_owned(),
        page.machine(),
        page.listeners(),
        page.bridge(),
        page.limits(),
        page.counts("refused", "/refused", "nobody"),
        page.counts("ended", "/ended", "no session"),
        page.log(),
        page.faults(),
    ]
    .concat()
}

struct Page<'a> {
    status: &'a Value,
    style: Style,
    width: usize,
}

impl Page<'_> {
    fn headline(&self) -> String {
        let get = |pointer| or_dash(text(self.status, pointer), |it| it);
        let state = get("/state");
        let tone = match state.as_str() {
            "healthy" => Tone::Good,
            "starting" | "stopping" => Tone::Warning,
            _ => Tone::Bad,
        };
        let up = or_dash(number(self.status, "/uptime_seconds"), span);
        let pid = or_dash(number(self.status, "/pid"), whole);
        let (version, since) = (get("/version"), get("/started_at"));
        let told = format!("my-app {version} is {state}: up {up}, since {since} (pid {pid})");
        let told = paragraph("", 0, &told, self.width);
        told.replacen(&state, &self.style.paint(tone, &state), 1)
    }

    fn reasons(&self) -> String {
        let reasons = list(self.status, "/reasons").iter();
        let reasons = reasons.filter_map(Value::as_str);
        let lines = reasons.map(|reason| paragraph("  -", 4, &clean(reason), self.width));
        let mut lines: String = lines.collect();
        if self.status.get("taken_out") == Some(&Value::Bool(true)) {
            lines += &paragraph(
                "  -",
                4,
                "taken out: /readyz answers 503; `my-app drain --undo` takes it back",
                self.width,
            );
        }
        for drain in list(self.status, "/drains") {
            let left = or_dash(number(drain, "/sessions_left"), whole);
            let whose = match text(drain, "/why").as_deref() {
                Some("reload") => "earlier workers: ",
                _ => "",
            };
            let words = match number(drain, "/seconds_left").filter(|&left| left > 0.0) {
                Some(time) => format!("{left} sessions left, which end within {}", span(time)),
                None => format!("{left} sessions left"),
            };
            lines += &paragraph("  -", 4, &format!("{whose}{words}"), self.width);
        }
        let earlier = list(self.status, "/earlier_workers").len();
        if earlier > 0 {
            let generation = or_dash(number(self.status, "/generation"), whole);
            let words = format!(
                "generation {generation} of the workers has whoever comes now; earlier ones that still have sessions: {earlier}"
            );
            lines += &paragraph("  -", 4, &words, self.width);
        }
        if let Some(stage) = text(self.status, "/reload") {
            let words = format!("a reload is under way: {stage}");
            lines += &paragraph("  -", 4, &words, self.width);
        }
        lines
    }

    fn paragraph(&self, label: &str, text: &str) -> String {
        let told = paragraph(label, INDENT, text, self.width);
        let painted = self.style.paint(Tone::Heading, label);
        told.replacen(label, &painted, 1)
    }

    fn totals(&self) -> String {
        let get = |pointer: &str| number(self.status, pointer);
        let (polling, websocket) = (get("/sessions/polling"), get("/sessions/websocket"));
        let all = polling.zip(websocket).map(|(p, w)| p + w);
        let [all, polling, websocket] = [all, polling, websocket].map(|it| or_dash(it, whole));
        let rate = |name: &str| or_dash(get(&format!("/rates/{name}_per_second")), short);
        let bytes = |name: &str| or_dash(get(&format!("/rates/{name}_per_second")), short_bytes);
        let (come, go) = (rate("sessions_opened"), rate("sessions_ended"));
        [
            self.paragraph(
                "sessions",
                &format!(
                    "{all}: {polling} polling, {websocket} websocket; {come}/s begin, {go}/s end"
                ),
            ),
            self.paragraph(
                "messages",
                &format!(
                    "{}/s in, {}/s out",
                    rate("messages_in"),
                    rate("messages_out")
                ),
            ),
            self.paragraph(
                "bytes",
                &format!("{}/s in, {}/s out", bytes("bytes_in"), bytes("bytes_out")),
            ),
        ]
        .concat()
    }

    fn workers(&self) -> String {
        let workers = list(self.status, "/workers");
        let groups = ["", "", "", "", "sessions", "", "msg/s", "", "bytes/s"];
        let groups = groups.map(|group| Cell::right(group).overhanging());
        let mut heading = vec![
            Cell::right("worker"),
            Cell::right("pid"),
            Cell::left("state", Tone::Normal),
        ];
        heading.extend(COLUMNS.map(Cell::right));
        let headings = [groups.to_vec(), heading].into_iter();
        let headings = headings.map(|row| row.into_iter().map(Cell::heading).collect());
        let mut rows: Vec<Vec<_>> = headings.collect();
        rows.extend(workers.iter().map(worker));
        let mut lines = table(&rows, self.style);
        for worker in workers {
            lines += &self.remark(worker);
        }
        lines
    }

    /// What a worker's row has no room for.
    fn remark(&self, worker: &Value) -> String {
        let slot = or_dash(number(worker, "/slot"), whole);
        let mut remarks = Vec::new();
        if let (Some(why), Some(state)) = (text(worker, "/why"), text(worker, "/state")) {
            remarks.push(format!("{state}: {why}"));
        }
        if let Some(restarts) = number(worker, "/restarts").filter(|it| *it >= 1.0) {
            let up = or_dash(number(worker, "/uptime_seconds"), span);
            let restarts = counted(restarts, "restart");
            remarks.push(format!("{restarts} so far, the last {up} ago"));
        }
        if remarks.is_empty() {
            return String::new();
        }
        let remark = format!("worker {slot}: {}", remarks.join("; "));
        paragraph("", 2, &remark, self.width)
    }

    /// How a proxy in front of several machines knows this one's sessions.
    fn machine(&self) -> String {
        let number = number(self.status, "/machine/number");
        let characters = text(self.status, "/machine/characters");
        let told = number.zip(characters);
        let told = or_dash(told, |(number, characters)| {
            format!("{} ({characters} in session ids)", whole(number))
        });
        self.paragraph("machine", &told)
    }

    fn listeners(&self) -> String {
        let listeners = list(self.status, "/listeners");
        if listeners.is_empty() {
            return self.paragraph("listeners", "-");
        }
        let mut lines = String::new();
        for (n, listener) in listeners.iter().enumerate() {
            let label = if n == 0 { "listeners" } else { "" };
            let address = or_dash(text(listener, "/address"), |it| it);
            let state = or_dash(text(listener, "/state"), |it| it);
            let why = text(listener, "/why");
            let remedy = remedy(&address, why.as_deref().unwrap_or_default());
            let why = why.map_or_else(String::new, |why| {
                // It says already what is not there.
                let why = why.strip_prefix(&format!("{address} is ")).unwrap_or(&why);
                format!(": {why}")
            });
            let worker = number(listener, "/worker");
            let worker = worker.map_or_else(String::new, |slot| format!(" for worker {slot:.0}"));
            let told = format!("{address} {state}{worker}{why}");
            if state == "listening" {
                lines += &self.paragraph(label, &told);
                continue;
            }
            let told = self.paragraph(label, &format!("{told}{remedy}"));
            lines += &told.replacen(&state, &self.style.paint(Tone::Bad, &state), 1);
        }
        lines
    }

    /// The link to other machines, if there is to be one.
    fn bridge(&self) -> String {
        let Some(bridge) = self.status.get("bridge").filter(|it| it.is_object()) else {
            return String::new();
        };
        let get = |pointer: &str| number(bridge, pointer);
        let state = or_dash(text(bridge, "/state"), |it| it);
        let since =
            get("/since_seconds").map_or_else(String::new, |it| format!(" for {}", span(it)));
        let server = or_dash(text(bridge, "/server"), |it| it);
        let machines = list(bridge, "/machines").iter().map(|machine| {
            let name = or_dash(text(machine, "/name"), |it| it);
            let workers = or_dash(number(machine, "/workers"), |it| counted(it, "worker"));
            format!("{name} ({workers})")
        });
        let machines: Vec<_> = machines.take(MACHINES).collect();
        let more = list(bridge, "/machines").len().saturating_sub(MACHINES);
        let more = if more > 0 {
            format!(", and {more} more")
        } else {
            String::new()
        };
        let machines = if machines.is_empty() {
            "no other machine".to_owned()
        } else {
            format!("other machines: {}{more}", machines.join(", "))
        };
        let told = self.paragraph(
            "bridge",
            &format!("{state}{since}, over {server}; {machines}"),
        );
        let tone = if state == "up" { Tone::Good } else { Tone::Bad };
        let told = told.replacen(&state, &self.style.paint(tone, &state), 1);
        let count = |name: &str| or_dash(get(&format!("/{name}")), whole);
        let figures = format!(
            "frames: {} in, {} out; {} repaired, {} and {} lost; {} kept for who missed something",
            count("frames_in"),
            count("frames_out"),
            count("repaired"),
            count("lost_in"),
            count("lost_out"),
            or_dash(get("/ring_bytes"), size),
        );
        let garbled = get("/garbled").filter(|garbled| *garbled > 0.0);
        let garbled = garbled.map_or_else(String::new, |garbled| {
            let garbled = counted(garbled, "message");
            self.paragraph("", &format!("{garbled} made no sense"))
        });
        told + &self.paragraph("", &figures) + &garbled
    }

    fn limits(&self) -> String {
        let limits = LIMITS.map(|(name, words)| {
            let limit = number(self.status, &format!("/limits/{name}"));
            let limit = or_dash(limit, |limit| match limit {
                0.0 => "no limit".to_owned(),
                limit if name.ends_with("_bytes") => size(limit),
                limit => whole(limit),
            });
            format!("{words}: {limit}")
        });
        self.paragraph("limits", &limits.join("; "))
    }

    /// Counts by reason since the start, the largest first.
    fn counts(&self, label: &str, pointer: &str, none: &str) -> String {
        let Some(counts) = self.status.pointer(pointer).and_then(Value::as_object) else {
            return self.paragraph(label, "-");
        };
        let counts = counts.iter();
        let counts = counts.filter_map(|(reason, count)| Some((clean(reason), count.as_f64()?)));
        let mut counts: Vec<_> = counts.filter(|(_, count)| *count >= 1.0).collect();
        counts.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let counts: Vec<_> = counts
            .into_iter()
            .map(|(reason, count)| format!("{reason} {count:.0}"))
            .collect();
        if counts.is_empty() {
            return self.paragraph(label, &format!("{none} since the start"));
        }
        self.paragraph(label, &counts.join(", "))
    }

    fn log(&self) -> String {
        let level = or_dash(text(self.status, "/log/level"), |it| it);
        let until = text(self.status, "/log/until");
        let until = until.map_or_else(String::new, |until| format!(" until {until}"));
        let lost = number(self.status, "/log/lines_lost").filter(|lost| *lost >= 1.0);
        let lost = lost.map_or_else(String::new, |lost| {
            format!("; {lost:.0} lines were lost: the disk or the terminal is too slow for them")
        });
        self.paragraph("log", &format!("level {level}{until}{lost}"))
    }

    fn faults(&self) -> String {
        let faults = list(self.status, "/faults");
        if faults.is_empty() {
            let known = self.status.get("faults").is_some();
            return self.paragraph("faults", if known { "none since the start" } else { "-" });
        }
        let mut lines = String::new();
        for (n, fault) in faults.iter().enumerate() {
            let label = if n == 0 { "faults" } else { "" };
            let get = |pointer| or_dash(text(fault, pointer), |it| it);
            lines += &self.paragraph(label, &format!("{} {}", get("/at"), get("/what")));
        }
        lines
    }
}

/// A worker's row.
fn worker(worker: &Value) -> Vec<Cell> {
    let get = |pointer: &str| number(worker, pointer);
    let figure = |pointer, show: fn(f64) -> String| Cell::right(or_dash(get(pointer), show));
    let state = or_dash(text(worker, "/state"), |it| it);
    let tone = match state.as_str() {
        "ready" => Tone::Good,
        "starting" => Tone::Warning,
        _ => Tone::Bad,
    };
    vec![
        figure("/slot", whole),
        figure("/pid", whole),
        Cell::left(state, tone),
        figure("/sessions/polling", whole),
        figure("/sessions/websocket", whole),
        figure("/messages_in_per_second", short),
        figure("/messages_out_per_second", short),
        figure("/bytes_in_per_second", short_bytes),
        figure("/bytes_out_per_second", short_bytes),
        figure("/memory_bytes", short_bytes),
        figure("/event_loop_lag_seconds", lag),
        figure("/bus_queue_bytes", short_bytes),
    ]
}

/// What brings a listener back, if that is not said already: systemd's listeners say it.
fn remedy(address: &str, why: &str) -> &'static str {
    if why.contains("systemctl") || address.ends_with(".socket") && !address.contains('/') {
        return "";
    }
    ". It is tried again every 5 s; `ss -ltnp` tells who has an address"
}

#[cfg(test)]
mod tests;
