//! The whole contract, as the design has it, with the keys that were added to it since and the one service that its
//! `depends_on` names.

use super::check;

const CONTRACT: &str = include_str!("contract.toml");

/// What this version does not do yet; everything else of the contract it does.
const NOT_YET: [&str; 2] = ["`files` in [logs]", "`journal` in [logs]"];

#[test]
fn all_of_the_contract_is_known_and_what_has_no_effect_yet_is_refused() {
    let lines = check(CONTRACT);
    assert_eq!(lines.len(), NOT_YET.len(), "{lines:#?}");
    for (line, key) in lines.iter().zip(NOT_YET) {
        assert!(
            line.contains(&format!(": {key} is not supported in this version (hint: leave it out")),
            "{line}"
        );
    }
}

#[test]
fn a_key_without_effect_is_refused_where_it_stands() {
    let position = |text: &str, column| {
        let line = CONTRACT.lines().position(|line| line.starts_with(text)).unwrap() + 1;
        format!("{line}:{column}: ")
    };
    let lines = check(CONTRACT);
    assert!(lines[0].starts_with(&position("files =", 1)), "{}", lines[0]);
    assert!(lines[1].starts_with(&position("journal", 1)), "{}", lines[1]);
}

#[test]
fn without_them_the_contract_is_valid() {
    let kept: String = CONTRACT
        .lines()
        .filter(|line| {
            let key = line.split_once('=').map_or("", |(key, _)| key.trim());
            !["files", "journal"].contains(&key)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(check(&kept), [""; 0], "{kept}");
}
