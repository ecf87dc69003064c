//! Paths of node.toml in which `*` and `?` stand for other characters.
//!
//! In: a pattern as it was checked (absolute, `*` and `?` in any component, nothing else that is special), and names of
//! files. Out: whether they match, and what has to be listed to find all that do. As in a shell: neither stands for `/`,
//! nor for a dot at the beginning of a name. Values only; whoever lists directories does it component by component.

/// The components behind the part of a pattern that stands for itself, and that part: where listing begins.
pub fn split(pattern: &str) -> (&str, Vec<&str>) {
    let Some(first) = pattern.find(['*', '?']) else { return (pattern, Vec::new()) };
    let slash = pattern[..first].rfind('/').unwrap_or_default();
    let directory = if slash == 0 { "/" } else { &pattern[..slash] };
    (directory, pattern[slash..].split('/').filter(|component| !component.is_empty()).collect())
}

/// Whether a name matches one component of a pattern.
pub fn matches(component: &str, name: &str) -> bool {
    if name.starts_with('.') && !component.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (component.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // Where to go on when the last `*` has to stand for one character more.
    let mut retry: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at, in_name));
                at += 1;
            }
            Some(character) if *character == '?' || *character == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => match &mut retry {
                Some((star, until)) => {
                    *until += 1;
                    (at, in_name) = (*star + 1, *until);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::cases::check;
    use proptest::prelude::*;

    #[test]
    fn listing_begins_where_a_pattern_does_not_stand_for_itself_any_more() {
        assert_eq!(split("/var/log/a.log"), ("/var/log/a.log", vec![]));
        assert_eq!(split("/var/log/*.log"), ("/var/log", vec!["*.log"]));
        assert_eq!(split("/srv/app-?/log/*.log"), ("/srv", vec!["app-?", "log", "*.log"]));
        assert_eq!(split("/*"), ("/", vec!["*"]));
    }

    #[test]
    fn names_as_in_a_shell() {
        for (component, name) in [
            ("*.log", "a.log"),
            ("*", "é"),
            ("?", "é"),
            ("a*b*c", "abbcbc"),
            (".*", ".a"),
            ("a", "a"),
            ("*.log", "a.log.log"),
        ] {
            assert!(matches(component, name), "{component} {name}");
        }
        for (component, name) in
            [("*.log", "a.log.1"), ("*", ".a"), ("?", ""), ("?a", ".a"), ("a*b", "a"), ("a", "b"), ("", "a")]
        {
            assert!(!matches(component, name), "{component} {name}");
        }
    }

    #[test]
    fn a_component_matches_what_the_regular_expression_of_the_same_meaning_does() {
        check("globs beside regex", 20_000, ("[ab.*?]{0,8}", "[ab.]{0,10}"), |(component, name)| {
            let pattern: String = component
                .chars()
                .map(|c| match c {
                    '*' => ".*".to_owned(),
                    '?' => ".".to_owned(),
                    c => regex::escape(&c.to_string()),
                })
                .collect();
            let hides = name.starts_with('.') && !component.starts_with('.');
            let same = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(&name);
            prop_assert_eq!(matches(&component, &name), same && !hides);
            Ok(())
        });
    }
}
