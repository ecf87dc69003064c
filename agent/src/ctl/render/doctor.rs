//! `agentctl doctor` as text: what is well in few lines, then what is not, the worst last, where the eye is.

use super::text::{Page, Tone, clean, wrap};
use crate::finding::{Area, Finding, Report, Verdict};

/// Width of a verdict and the space behind it.
const INDENT: usize = 6;

/// The whole text; every finding in full where `verbose` is set. Ends with a line break.
pub fn render(report: &Report, verbose: bool, page: Page) -> String {
    let mut text = String::new();
    let passed = |finding: &&Finding| finding.verdict == Verdict::Pass;
    if verbose {
        report.findings.iter().filter(passed).for_each(|finding| text.push_str(&full(finding, page)));
    } else {
        Area::ALL.iter().for_each(|area| text.push_str(&well(*area, report, page)));
    }
    for verdict in [Verdict::Skip, Verdict::Warn, Verdict::Fail] {
        let of_verdict = report.findings.iter().filter(|finding| finding.verdict == verdict);
        of_verdict.for_each(|finding| text.push_str(&full(finding, page)));
    }
    text.push_str(&summary(report, page));
    text
}

/// One line for what is well in an area.
fn well(area: Area, report: &Report, page: Page) -> String {
    let of_area =
        report.findings.iter().filter(|finding| finding.area == area && finding.verdict == Verdict::Pass);
    let checks: Vec<String> = of_area.map(|finding| clean(&finding.check)).collect();
    if checks.is_empty() {
        return String::new();
    }
    marked(Verdict::Pass, &format!("{area}: {}", checks.join(", ")), page)
}

fn full(finding: &Finding, page: Page) -> String {
    let Finding { area, check, verdict, message, remedy } = finding;
    let mut text = marked(*verdict, &format!("{area}: {check}: {message}"), page);
    if let Some(remedy) = remedy {
        text.push_str(&wrap(&format!("do: {remedy}"), INDENT, page.width));
    }
    text
}

fn marked(verdict: Verdict, words: &str, page: Page) -> String {
    let (word, tone) = match verdict {
        Verdict::Pass => ("PASS", Tone::Good),
        Verdict::Skip => ("SKIP", Tone::Plain),
        Verdict::Warn => ("WARN", Tone::Busy),
        Verdict::Fail => ("FAIL", Tone::Bad),
    };
    let lines = wrap(words, INDENT, page.width);
    let behind = lines.get(INDENT..).unwrap_or_default();
    format!("{}  {behind}", page.paint(word, tone))
}

fn summary(report: &Report, page: Page) -> String {
    let counts = [
        (Verdict::Pass, "passed"),
        (Verdict::Skip, "skipped"),
        (Verdict::Warn, "to look at"),
        (Verdict::Fail, "failed"),
    ];
    let counts = counts.map(|(verdict, word)| (report.count(verdict), word));
    let words: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let tone = match report.verdict {
        Verdict::Fail => Tone::Bad,
        Verdict::Warn => Tone::Busy,
        Verdict::Pass | Verdict::Skip => Tone::Good,
    };
    format!("{}\n", page.paint(&words.join(", "), tone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    const PLAIN: Page = Page { width: 80, colour: false };

    fn report() -> Report {
        let findings = vec![
            Finding::pass(
                Area::Configuration,
                "node.toml",
                "/etc/node-agent/node.toml is valid, with 2 services",
            ),
            Finding::pass(Area::Aws, "reach ecr", "api.ecr.eu-north-1.amazonaws.com is connected in 2 ms"),
            Finding::fail(
                Area::Aws,
                "secret app",
                "secret app (algoitny-secrets) may not be read: AccessDeniedException: no identity-based policy allows it",
                "allow the instance's role secretsmanager:GetSecretValue on it",
            ),
            Finding::warn(
                Area::Clock,
                "clock",
                "31 s behind logs.eu-north-1.amazonaws.com",
                "set it: `chronyc makestep`",
            ),
            Finding::pass(Area::Aws, "image of api", "found"),
            Finding::skip(Area::Disks, "errors of disks", "run as root to read the kernel's messages"),
        ];
        Report::of(findings, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_is_well_is_short_and_the_worst_comes_last() {
        let expected = "\
PASS  configuration: node.toml
PASS  aws: reach ecr, image of api
SKIP  disks: errors of disks: run as root to read the kernel's messages
WARN  clock: clock: 31 s behind logs.eu-north-1.amazonaws.com
      do: set it: `chronyc makestep`
FAIL  aws: secret app: secret app (algoitny-secrets) may not be read:
      AccessDeniedException: no identity-based policy allows it
      do: allow the instance's role secretsmanager:GetSecretValue on it
3 passed, 1 skipped, 1 to look at, 1 failed
";
        assert_eq!(render(&report(), false, PLAIN), expected);
    }

    #[test]
    fn everything_is_said_when_asked_for_and_nothing_is_wider_than_the_page() {
        let text = render(&report(), true, PLAIN);
        assert!(
            text.starts_with("PASS  configuration: node.toml: /etc/node-agent/node.toml is valid"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let coloured = render(&report(), true, Page { colour: true, ..PLAIN });
        assert_eq!(clean(&coloured.replace('\n', "§")).replace('§', "\n"), text);
    }
}
