//! What happens to the one model of a bench, chapter by chapter, and what has to be so after each, whatever was killed.

use std::collections::BTreeSet;

use harness::wait::wait_for;
use serde_json::Value;

use crate::bench::{Bench, PATIENCE};

/// The chapters, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chapter {
    /// Pull, verify, load, smoke prompt.
    First,
    /// The tag moves: name for the old one, pull, verify, load, smoke prompt.
    Update,
    /// It moves to a version that answers nonsense: back, and barred.
    Bad,
    /// A person goes back to the first version.
    Rollback,
    /// And follows the tag again, to one more version: the second one goes.
    Onward,
}

pub(crate) const CHAPTERS: [Chapter; 5] =
    [Chapter::First, Chapter::Update, Chapter::Bad, Chapter::Rollback, Chapter::Onward];

/// How a chapter ends; numbers are versions.
struct End {
    is: u64,
    previous: Option<u64>,
    kept: &'static [u64],
    barred: &'static [u64],
    pulled: &'static [u64],
}

impl Chapter {
    fn end(self) -> End {
        match self {
            Chapter::First => End { is: 1, previous: None, kept: &[], barred: &[], pulled: &[1] },
            Chapter::Update => End { is: 2, previous: Some(1), kept: &[1], barred: &[], pulled: &[1, 2] },
            Chapter::Bad => End { is: 2, previous: Some(1), kept: &[1, 2], barred: &[3], pulled: &[1, 2, 3] },
            Chapter::Rollback => {
                End { is: 1, previous: Some(2), kept: &[1, 2], barred: &[3], pulled: &[1, 2, 3] }
            }
            // The layers of the barred one lie there for their hour.
            Chapter::Onward => End { is: 4, previous: Some(1), kept: &[1], barred: &[3], pulled: &[1, 3, 4] },
        }
    }

    /// Its snapshot: how the chapter before it ended.
    pub(crate) fn begins_as(self) -> String {
        format!("before {self:?}")
    }

    /// What the registry has in it.
    pub(crate) fn set(self, bench: &Bench) {
        bench.registry.clear_faults();
        bench.tag(match self {
            Chapter::First => 1,
            Chapter::Update => 2,
            Chapter::Bad | Chapter::Rollback => 3,
            Chapter::Onward => 4,
        });
    }

    /// The server runs, and everything is as the chapter before has left it.
    pub(crate) fn open(self, bench: &mut Bench) {
        bench.bring_back(&self.begins_as());
        bench.start_server();
        // What the registry has in this chapter is for later, but for the first one.
        self.before().unwrap_or(self).set(bench);
    }

    fn before(self) -> Option<Chapter> {
        CHAPTERS.into_iter().take_while(|chapter| *chapter != self).last()
    }

    /// An agent that was just started is where the chapter before has ended. In the first one it begins.
    pub(crate) fn until_open(self, bench: &Bench) -> Result<(), String> {
        self.before().map_or(Ok(()), |before| before.until_over(bench))
    }

    /// It begins. What the agent does not live to answer is asked again by [`Chapter::insist`].
    pub(crate) fn begin(self, bench: &Bench) {
        let what = match self {
            Chapter::First => return,
            Chapter::Update | Chapter::Bad | Chapter::Onward => "update",
            Chapter::Rollback => "rollback",
        };
        bench.agentctl(&["models", what, &bench.model()]);
    }

    /// A person whose command was cut off looks, and repeats it where it was not taken.
    pub(crate) fn insist(self, bench: &Bench) -> Result<(), String> {
        let pins = match self {
            Chapter::Rollback => true,
            Chapter::Onward => false,
            // The agent asks the registry by itself when it starts.
            Chapter::First | Chapter::Update | Chapter::Bad => return Ok(()),
        };
        let ask = || {
            // On disk before it is promised; an agent that has just begun shows no pin yet.
            if bench.record()["pin"].is_null() != pins {
                return Ok(());
            }
            self.begin(bench);
            Err("it was not taken".to_owned())
        };
        wait_for("the command to be taken", PATIENCE, ask).map_err(|error| error.to_string())
    }

    /// Waits until all is as it has to be.
    pub(crate) fn until_over(self, bench: &Bench) -> Result<(), String> {
        let waited = wait_for(&format!("the end of {self:?}"), PATIENCE, || {
            let wrong = self.wrong(bench)?;
            if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
        });
        waited.map_err(|error| error.to_string())
    }

    pub(crate) fn is_over(self, bench: &Bench) -> bool {
        self.wrong(bench).is_ok_and(|wrong| wrong.is_empty())
    }

    /// Of the version that is pulled in it.
    pub(crate) fn weights(self, bench: &Bench) -> Option<String> {
        let version = match self {
            Chapter::First => 1,
            Chapter::Update => 2,
            Chapter::Bad => 3,
            Chapter::Onward => 4,
            Chapter::Rollback => return None,
        };
        bench.layers(&[version]).into_iter().next()
    }

    /// Everything that is not as it has to be.
    fn wrong(self, bench: &Bench) -> Result<Vec<String>, String> {
        let end = self.end();
        let digest = |version: u64| bench.versions[usize::try_from(version - 1).unwrap()].clone();
        let mut wrong = Vec::new();
        let mut check = |what: &str, is: &Value, wanted: Value| {
            if *is != wanted {
                wrong.push(format!("{what} is {is} and not {wanted}"));
            }
        };
        let told = bench.ask_agent("/v1/models")?;
        let (model, explanation) = (&told["models"][0], &told["explanations"][0]);
        check("its state", &model["state"], "loaded".into());
        check("its version", &model["digest"], digest(end.is).into());
        check("the good one", &explanation["good"], digest(end.is).into());
        check("the previous one", &explanation["previous"], end.previous.map(digest).into());
        let barred = explanation["quarantined"].as_array().into_iter().flatten();
        let barred: Value = barred.map(|barred| barred["digest"].clone()).collect();
        let wanted: Value = end.barred.iter().map(|version| digest(*version)).collect();
        check("what is barred", &barred, wanted);
        let open =
            bench.record()["past"].as_array().into_iter().flatten().filter(|it| it["end"].is_null()).count();
        check("moves that never ended", &open.into(), 0.into());
        let (names, wanted) = (names(bench)?, self.names(bench));
        if names != wanted {
            wrong.push(format!("names are {names:?} and not {wanted:?}"));
        }
        wrong.extend(self.wrong_files(bench));
        Ok(wrong)
    }

    /// Every name that the server should have, with its version.
    fn names(self, bench: &Bench) -> BTreeSet<(String, String)> {
        let end = self.end();
        let digest = |version: u64| bench.versions[usize::try_from(version - 1).unwrap()].clone();
        let kept = end.kept.iter().map(|version| digest(*version));
        let kept = kept.map(|digest| (format!("{}.kept-{}", bench.model(), &digest[7..19]), digest));
        kept.chain([(bench.model(), digest(end.is))]).collect()
    }

    /// Layers of the versions that were pulled, whole, and nothing else: nothing half there.
    fn wrong_files(self, bench: &Bench) -> Vec<String> {
        let known: BTreeSet<String> = bench.layers(self.end().pulled).into_iter().collect();
        let mut wrong = Vec::new();
        let mut there = BTreeSet::new();
        for entry in std::fs::read_dir(bench.models().join("blobs")).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().replacen('-', ":", 1);
            if !known.contains(&name) {
                wrong.push(format!("{name} is in the folder"));
            }
            there.insert(name);
        }
        let missing = known.difference(&there);
        wrong.extend(missing.map(|layer| format!("{layer} is missing")));
        wrong
    }
}

fn names(bench: &Bench) -> Result<BTreeSet<(String, String)>, String> {
    let tags = bench.ask_server("/api/tags")?;
    let models = tags["models"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(models.map(|model| (text(&model["name"]), format!("sha256:{}", text(&model["digest"])))).collect())
}

/// The whole story without a kill; a snapshot stays before each chapter. `each` is told when one is about to begin.
pub(crate) fn tell(bench: &mut Bench, each: impl Fn(&Bench, Chapter)) -> Result<(), String> {
    bench.lay_out();
    bench.start_server();
    for chapter in CHAPTERS {
        bench.put_aside(&chapter.begins_as());
        chapter.open(bench);
        if chapter == Chapter::First {
            each(bench, chapter);
        }
        bench.start_agent();
        let opened = chapter.until_open(bench);
        chapter.set(bench);
        if chapter != Chapter::First {
            each(bench, chapter);
        }
        chapter.begin(bench);
        let over = opened.and_then(|()| chapter.until_over(bench));
        over.map_err(|why| format!("{chapter:?}, undisturbed: {why}\n{}", bench.told()))?;
    }
    Ok(())
}
