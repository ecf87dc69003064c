//! Answers: whole ones, and lines that come as they are sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// One of the lines of an answer.
#[derive(Debug)]
pub(crate) enum Line {
    Json(Value),
    /// The connection breaks here.
    Break,
}

/// The body of an answer.
pub(crate) enum Content {
    Whole(Option<Bytes>),
    Lines(mpsc::Receiver<Line>),
}

/// The connection is to be broken in the middle of an answer.
#[derive(Debug)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "the connection is broken on purpose")
    }
}

impl std::error::Error for Broken {}

impl Body for Content {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Lines(lines) => lines.poll_recv(context).map(|line| {
                Some(match line? {
                    Line::Json(value) => Ok(Frame::data(Bytes::from(format!("{value}\n")))),
                    Line::Break => Err(Broken),
                })
            }),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Lines(_) => SizeHint::default(),
        }
    }
}

/// An answer.
pub(crate) type Answer = Response<Content>;

fn typed(status: u16, kind: &'static str, content: Content) -> Answer {
    let mut answer = Response::new(content);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// JSON.
pub(crate) fn json(status: u16, value: &Value) -> Answer {
    let content = Content::Whole(Some(Bytes::from(value.to_string())));
    typed(status, "application/json; charset=utf-8", content)
}

/// Ollama's form of an error.
pub(crate) fn error(status: u16, why: &str) -> Answer {
    json(status, &json!({"error": why}))
}

/// Plain text.
pub(crate) fn text(status: u16, text: &str) -> Answer {
    typed(status, "text/plain; charset=utf-8", Content::Whole(Some(Bytes::from(text.to_owned()))))
}

/// 200 and nothing else.
pub(crate) fn empty() -> Answer {
    Response::new(Content::Whole(None))
}

/// Lines of JSON as they come.
pub(crate) fn lines(lines: mpsc::Receiver<Line>) -> Answer {
    typed(200, "application/x-ndjson", Content::Lines(lines))
}
