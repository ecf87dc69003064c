//! The whole contract, as the design has it, with the one service added that its `depends_on` names.

use super::check;

const CONTRACT: &str = include_str!("contract.toml");

/// What this version does not do yet; everything else of the contract it does.
const NOT_YET: [&str; 10] = [
    "`gpus` in [services.api]",
    "`imds` in [services.api]",
    "`strategy = \"blue-green\"` in [services.api.update]",
    "`min_age` in [services.api.update]",
    "`window` in [services.api.update]",
    "`drain` in [services.api.update]",
    "`models`",
    "`files` in [logs]",
    "`journal` in [logs]",
    "`metrics`",
];

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
    let position = |key: &str| {
        let line = CONTRACT.lines().position(|line| line.starts_with(key)).unwrap() + 1;
        format!("{line}:1: ")
    };
    let lines = check(CONTRACT);
    assert!(lines[0].starts_with(&position("gpus")), "{}", lines[0]);
    assert!(lines[3].starts_with(&position("min_age")), "{}", lines[3]);
    assert!(lines[8].starts_with(&position("journal")), "{}", lines[8]);
}

#[test]
fn without_them_the_contract_is_valid() {
    let mut section = "";
    let kept: String = CONTRACT
        .lines()
        .filter(|line| {
            if line.starts_with('[') {
                section = line.split(['[', ']', '.']).nth(1).unwrap_or_default();
            }
            let key = line.split_once('=').map_or("", |(key, _)| key.trim());
            let not_yet = ["gpus", "imds", "strategy", "min_age", "window", "drain", "files", "journal"];
            !matches!(section, "models" | "metrics") && !not_yet.contains(&key)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(check(&kept), [""; 0], "{kept}");
}
