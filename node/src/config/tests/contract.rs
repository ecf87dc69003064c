//! The whole contract, as the design has it, with the keys that were added to it since and the one service that its
//! `depends_on` names.

use super::check;

const CONTRACT: &str = include_str!("contract.toml");

#[test]
fn all_of_the_contract_is_known_and_valid() {
    assert_eq!(check(CONTRACT), [""; 0], "{CONTRACT}");
}
