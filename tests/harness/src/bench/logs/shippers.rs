//! The shippers that people run today, where they are installed: Vector and Fluent Bit, each with the acknowledgements and
//! the parser that a careful person would configure, over a json-file that is there already.

#![expect(clippy::disallowed_methods, reason = "starts programs and writes their files")]

use super::usage::{peak_bytes, processor_seconds};
use super::{DEADLINE, LINES, Measured, SHIPPER, outcome, times};
use crate::log_node::{CREDENTIALS, LogNode};
use crate::processes::Process;
use crate::requirements::is_on_path;
use crate::wait::wait_for;
use log_endpoint::numbered::append_json_file;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

/// They take their time.
const SHARE: u64 = 4;
const GROUP: &str = "/shipper";

/// Which one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shipper {
    Vector,
    FluentBit,
}

pub(super) const ALL: &[Shipper] = &[Shipper::Vector, Shipper::FluentBit];

impl Shipper {
    pub(super) fn name(self) -> &'static str {
        match self {
            Shipper::Vector => "Vector",
            Shipper::FluentBit => "Fluent Bit",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Shipper::Vector => "vector",
            Shipper::FluentBit => "fluent-bit",
        }
    }

    /// Its configuration for `log`, in `folder`.
    fn configuration(self, log: &Path, folder: &Path, node: &LogNode) -> (&'static str, String) {
        let (log, folder, url) = (log.display(), folder.display(), node.endpoint.url());
        let trusted = node.endpoint.authority().display().to_string();
        match self {
            Shipper::Vector => (
                "vector.toml",
                format!(
                    "data_dir = \"{folder}\"\n[sources.file]\ntype = \"file\"\ninclude = [\"{log}\"]\n\
                     [transforms.line]\ntype = \"remap\"\ninputs = [\"file\"]\n\
                     source = '''\nrecord = object!(parse_json!(.message))\n.message = record.log\n\
                     .timestamp = parse_timestamp!(record.time, \"%+\")\n'''\n\
                     [sinks.logs]\ntype = \"aws_cloudwatch_logs\"\ninputs = [\"line\"]\nregion = \"eu-north-1\"\n\
                     endpoint = \"{url}\"\ngroup_name = \"{GROUP}\"\nstream_name = \"vector\"\n\
                     create_missing_group = true\ncreate_missing_stream = true\nencoding.codec = \"text\"\n\
                     tls.ca_file = \"{trusted}\"\nacknowledgements.enabled = true\n"
                ),
            ),
            Shipper::FluentBit => {
                let port = url.rsplit(':').next().unwrap_or_default();
                (
                    "fluent-bit.yaml",
                    format!(
                        "service: {{flush: 1}}\nparsers:\n  - {{name: docker, format: json, time_key: time, \
                         time_format: '%Y-%m-%dT%H:%M:%S.%L%z'}}\npipeline:\n  inputs:\n    - {{name: tail, path: '{log}', \
                         parser: docker, read_from_head: true, db: '{folder}/tail.db', storage.type: memory}}\n  outputs:\n\
                         \x20   - {{name: cloudwatch_logs, match: '*', region: eu-north-1, log_group_name: {GROUP}, \
                         log_stream_name: fluent-bit, log_key: log, auto_create_group: true, endpoint: 127.0.0.1, \
                         port: {port}, tls.ca_file: '{trusted}', tls.verify: off}}\n"
                    ),
                )
            }
        }
    }
}

/// A quarter of a gigabyte.
pub(super) fn measure(shipper: Shipper, node: &LogNode) -> Result<Measured, Box<dyn Error>> {
    if !is_on_path(shipper.program()) {
        return Err(format!("not installed: no {} on the PATH", shipper.program()).into());
    }
    node.endpoint.forget()?;
    let folder = tempfile::tempdir()?;
    let (log, lines) = (folder.path().join("container-json.log"), LINES / SHARE);
    let file_bytes = append_json_file(&log, 0..lines, times(lines))?;
    let (name, configuration) = shipper.configuration(&log, folder.path(), node);
    let file = folder.path().join(name);
    fs::write(&file, configuration)?;
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(SHIPPER.to_string()).arg(shipper.program()).arg("--config").arg(&file);
    command.envs(CREDENTIALS).env("SSL_CERT_FILE", node.endpoint.authority());
    let process = Process::start(shipper.program(), command)?;
    let stream = shipper.program().to_owned();
    wait_for("its lines", DEADLINE, || match node.endpoint.look(GROUP, &stream, |seen| seen.distinct) {
        distinct if distinct >= lines => Ok(()),
        distinct => Err(format!("{distinct} of {lines}\n{}", process.output())),
    })?;
    let (lost, duplicates) = outcome(&node.endpoint, &[(GROUP.to_owned(), stream)], lines);
    Ok(Measured {
        name: shipper.name().to_owned(),
        text_bytes: lines * 200,
        file_bytes,
        seconds: node.endpoint.span().as_secs_f64(),
        processor_seconds: processor_seconds(process.id())?,
        peak_bytes: peak_bytes(process.id())?,
        lost,
        duplicates,
    })
}
