//! The reader of the engine's log files, and what makes requests of them, as a target; both are the agent's.

use agent::logs::assemble::{Assembler, Taken};
use agent::logs::body::{Body, Builder, Limits};
use agent::logs::escape;
use agent::logs::feed::Then;
use agent::logs::json_file::{Entry, Parser, second_beginning, torn_text};
use agent::logs::sink::Destination;

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 1] = [("json_log", json_log)];

/// Later than every line.
const NOW_MS: i64 = 1_800_000_000_000;

/// The first byte says how small events and bodies are; the rest is a log as it lies on the disk. Whatever it is, every
/// body is a request within its limits, and all text is in one event.
pub fn json_log(data: &[u8]) {
    let (size, log) = data.split_first().unwrap_or((&0, &[]));
    let max_event = 16 + usize::from(*size) * 4;
    let limits =
        Limits { bytes: 2 * (max_event + 26), events: 7, span_ms: 24 * 60 * 60 * 1000, json: 1 << 20 };
    let mut shipped = Shipped { limits, max_event, bodies: Vec::new(), builder: builder(limits), lines: 0 };
    let mut assembler = Assembler::new(max_event, None);
    assembler.it_is(NOW_MS);
    let (mut parser, mut text_bytes) = (Parser::default(), 0);
    for (number, line) in log.split(|byte| *byte == b'\n').enumerate() {
        let place = number as u64;
        let Some(entry) = parser.line(line) else {
            let torn = second_beginning(line).unwrap_or(line.len());
            assert!(torn > 0 || line.is_empty(), "the beginning of a torn line is nothing");
            let text = torn_text(&line[..torn]);
            text_bytes += text.len();
            shipped.take(|into| assembler.text(0, text.as_bytes(), place, into));
            continue;
        };
        text_bytes += means_what_a_parser_of_json_reads(line, &entry);
        shipped.take(|into| assembler.entry(&entry, place, into));
    }
    shipped.take(|into| assembler.close(Then::Nothing, log.len() as u64, into));
    assert!(!assembler.is_open(), "what was closed is open");
    assert_eq!(shipped.checked(), text_bytes, "bytes of text that arrive, and that were written");
}

/// What [`Builder`] made.
struct Shipped {
    limits: Limits,
    max_event: usize,
    /// Each with the number of lines that are in it.
    bodies: Vec<(Body, usize)>,
    builder: Builder,
    lines: usize,
}

impl Shipped {
    /// In the next body where this one is full.
    fn take(&mut self, mut step: impl FnMut(&mut Builder) -> Taken) {
        let mut before = self.builder.len();
        while step(&mut self.builder) == Taken::Full {
            let full = std::mem::replace(&mut self.builder, builder(self.limits));
            // What was open may have been closed before there was no more room.
            let lines = std::mem::take(&mut self.lines) + usize::from(full.len() > before);
            self.bodies.push((full.finish().expect("an empty body has room"), lines));
            before = 0;
        }
        self.lines += usize::from(self.builder.len() > before);
    }

    /// Bytes of all messages.
    fn checked(self) -> usize {
        let last = self.builder.finish().map(|body| (body, self.lines));
        let bodies = self.bodies.into_iter().chain(last);
        bodies.map(|(body, lines)| check(&body, lines, self.limits, self.max_event)).sum()
    }
}

fn builder(limits: Limits) -> Builder {
    Builder::new(&Destination { group: "g".to_owned(), stream: "s".to_owned() }, limits)
}

/// What is promised of every body; the bytes of its messages. A line that alone is more than fits is a body by itself, and
/// halved when the service refuses it.
fn check(body: &Body, lines: usize, limits: Limits, max_event: usize) -> usize {
    let request: serde_json::Value = serde_json::from_slice(&body.json()).expect("a request is JSON");
    let events = request["logEvents"].as_array().expect("a request has events");
    let messages = || events.iter().map(|event| event["message"].as_str().expect("a message is text"));
    let bytes: usize = messages().map(str::len).sum();
    assert!(messages().all(|message| !message.is_empty() && message.len() <= max_event));
    assert_eq!(events.len(), body.len());
    assert!(lines == 1 || events.len() <= limits.events, "{lines} lines in one body");
    assert!(lines == 1 || bytes + 26 * events.len() <= limits.bytes, "{bytes} bytes in one body");
    let times: Vec<i64> = events.iter().map(|event| event["timestamp"].as_i64().expect("a time")).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(times[times.len() - 1] - times[0] < limits.span_ms || times.len() == 1, "{times:?}");
    assert_eq!(body.message_bytes(0..events.len()), bytes);
    bytes
}

/// Bytes of its text.
fn means_what_a_parser_of_json_reads(line: &[u8], entry: &Entry<'_>) -> usize {
    if !entry.valid {
        return escape::decode(entry.inside).len();
    }
    // With a key twice, each reader may take another one.
    let once = |key: &str| line.windows(key.len()).filter(|window| *window == key.as_bytes()).count() == 1;
    if once("\"log\"")
        && once("\"stream\"")
        && let Ok(read) = serde_json::from_slice::<serde_json::Value>(line)
    {
        let text = read["log"].as_str().expect("a log is text");
        let (without, ends) = text.strip_suffix('\n').map_or((text, false), |text| (text, true));
        assert_eq!((without.len(), ends), (entry.decoded, entry.ends));
        assert_eq!(escape::decode(entry.inside), without);
        assert_eq!(read["stream"] == "stderr", entry.stderr);
    }
    entry.decoded
}

/// Target and input: as the engine writes them, and as it leaves them behind when it is killed.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    [WHOLE, PIECES, TORN].map(|text| ("json_log", format!("\u{9}{text}").into_bytes())).to_vec()
}

const WHOLE: &str = r#"{"log":"GET /health 200\n","stream":"stdout","time":"2026-11-30T13:13:39.123456789Z"}
{"log":"caf\u00e9 \ud83d\ude00 \"quoted\" \\ tab\t\n","stream":"stderr","time":"2026-11-30T13:13:39.2Z"}
{"log":"labelled\n","stream":"stdout","attrs":{"a":"b","time":"\"}"},"time":"2026-11-30T13:13:40Z"}
"#;

const PIECES: &str = r#"{"log":"a long message in ","stream":"stdout","time":"2026-11-30T13:13:39.123456789Z"}
{"log":"between\n","stream":"stderr","time":"2026-11-30T13:13:39.2Z"}
{"log":"two pieces, of which the second one is long enough to be cut\n","stream":"stdout","time":"2026-11-30T13:13:39.3Z"}
{"log":"prompt> ","stream":"stdout","time":"2026-11-29T00:00:00+02:00"}
"#;

const TORN: &str = r#"{"log":"torn \u00{"log":"whole\n","stream":"stdout","time":"2026-11-30T13:13:39Z"}
plain
{"log":"\ud800 half a pair\n","stream":"stdout","time":"2026-11-30T13:13:39Z"}
{"log":"no end"#;
