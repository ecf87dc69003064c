//! Names: of services, volumes and secrets, users, capabilities, environment variables, log groups.

use crate::config::findings::Wrong;

/// A service is a host name on the node's network, so it is one DNS label.
pub(in crate::config) fn service(text: &str) -> Result<(), Wrong> {
    plain(text, "-").map_err(|wrong| {
        wrong
            .about(&format!("`{text}` cannot name a service"))
            .hint("up to 63 of a-z, 0-9 and -, not - at the start")
    })
}

/// A volume or a secret: `kind` says which.
pub(in crate::config) fn thing(kind: &str, text: &str) -> Result<(), Wrong> {
    plain(text, "-_").map_err(|wrong| {
        wrong
            .about(&format!("`{text}` cannot name a {kind}"))
            .hint("up to 63 of a-z, 0-9, - and _, a letter or digit at the start")
    })
}

fn plain(text: &str, besides: &str) -> Result<(), Wrong> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.is_empty() || text.len() > 63 {
        return Err(Wrong::new("it is empty or too long"));
    }
    if !text.starts_with(letter) || !text.chars().all(|c| letter(c) || besides.contains(c)) {
        return Err(Wrong::new("it has other characters than are allowed"));
    }
    Ok(())
}

/// `[node] name`: anything that fits on a line.
pub(in crate::config) fn node(text: &str) -> Result<String, Wrong> {
    if text.trim().is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err(Wrong::new("the name of the node is empty, too long, or has control characters"));
    }
    Ok(text.to_owned())
}

/// `USER[:GROUP]`, each a number or a name.
pub(in crate::config) fn user(text: &str) -> Result<String, Wrong> {
    let part = |part: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let number = part.bytes().all(|byte| byte.is_ascii_digit());
        let fits = !number || part.parse::<u32>().is_ok_and(|id| id < u32::MAX);
        !part.is_empty() && part.len() <= 64 && fits && !part.starts_with('-') && part.chars().all(inner)
    };
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() <= 2 && parts.iter().all(|text| part(text)) {
        Ok(text.to_owned())
    } else {
        Err(Wrong::new(format!("\"{text}\" is not a user"))
            .hint("write \"UID\", \"UID:GID\", or names that the image knows"))
    }
}

/// capabilities(7), without the prefix.
const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// The name of a capability, with or without `CAP_` -> without.
pub(in crate::config) fn capability(text: &str) -> Result<String, Wrong> {
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if !CAPABILITIES.contains(&name) {
        let near = CAPABILITIES.into_iter().max_by(|left, right| {
            strsim::jaro_winkler(name, left).total_cmp(&strsim::jaro_winkler(name, right))
        });
        let near = near.map(|near| format!("did you mean `{near}`?"));
        let hint = if name == "ALL" { Some("name the ones that are needed".to_owned()) } else { near };
        return Err(Wrong::new(format!("\"{text}\" is not a capability")).hint_if_any(hint));
    }
    Ok(name.to_owned())
}

/// What an environment variable may be called: anything that the kernel and a shell script can pass on.
pub(in crate::config) fn environment_variable(text: &str) -> Result<(), Wrong> {
    if text.is_empty() || text.chars().any(|c| c == '=' || c.is_whitespace() || c.is_control()) {
        return Err(Wrong::new(format!("`{text}` cannot name an environment variable"))
            .hint("it is not empty and has no =, spaces or control characters"));
    }
    Ok(())
}

/// A text that the kernel can pass to a program. The message has no value in it: it may be a private one.
pub(in crate::config) fn argument(text: &str) -> Result<String, Wrong> {
    if text.contains('\0') { Err(Wrong::new("the text has a NUL character")) } else { Ok(text.to_owned()) }
}

/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html>
pub(in crate::config) fn log_group(text: &str) -> Result<String, Wrong> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-/.#".contains(c);
    if text.is_empty() || text.len() > 512 || !text.chars().all(good) {
        return Err(Wrong::new(format!("\"{text}\" cannot name a log group"))
            .hint("1 to 512 of a-z, A-Z, 0-9, _ - / . and #"));
    }
    Ok(text.to_owned())
}

/// A namespace of CloudWatch that is not one of AWS's own.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html>
pub(in crate::config) fn namespace(text: &str) -> Result<String, Wrong> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-/#:".contains(c);
    if text.is_empty() || text.len() > 255 || !text.chars().all(good) {
        return Err(Wrong::new(format!("\"{text}\" cannot name a namespace"))
            .hint("1 to 255 of a-z, A-Z, 0-9, . _ - / # and :"));
    }
    if text.starts_with("AWS/") || text.starts_with(':') {
        return Err(Wrong::new(format!("\"{text}\" cannot name a namespace: AWS keeps it for itself"))
            .hint("write one of your own, such as \"NodeAgent\""));
    }
    Ok(text.to_owned())
}

/// Days that CloudWatch Logs can keep a group for.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html>
const RETENTION: [i32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/// One of the numbers of days that CloudWatch Logs takes.
pub(in crate::config) fn retention_days(days: i64) -> Result<i32, Wrong> {
    RETENTION.into_iter().find(|allowed| i64::from(*allowed) == days).ok_or_else(|| {
        let near = RETENTION.into_iter().find(|allowed| i64::from(*allowed) > days);
        let near = near.unwrap_or(RETENTION[RETENTION.len() - 1]);
        let all: Vec<String> = RETENTION.iter().map(ToString::to_string).collect();
        Wrong::new(format!("CloudWatch Logs cannot keep logs for {days} days"))
            .hint(format!("write {near}, or another of {}", all.join(", ")))
    })
}

/// Name or ARN of a secret.
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
pub(in crate::config) fn secret_id(text: &str) -> Result<String, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("\"{text}\" is not the name or ARN of a secret: {why}"));
    let good = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-!".contains(c);
    if text.starts_with("arn:") {
        let parts: Vec<&str> = text.splitn(7, ':').collect();
        return match parts.as_slice() {
            [_, _, "secretsmanager", _, _, "secret", name] if !name.is_empty() => Ok(text.to_owned()),
            _ => Err(wrong("the ARN is not one of a secret")
                .hint("write arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME")),
        };
    }
    if text.is_empty() || text.len() > 512 || !text.chars().all(good) {
        return Err(wrong("1 to 512 of a-z, A-Z, 0-9 and /_+=.@-! are"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_and_things() {
        assert!(service("algoitny-api").is_ok() && service("0").is_ok() && service(&"a".repeat(63)).is_ok());
        for text in ["", "-a", "a_b", "A", "a.b", "é", &"a".repeat(64)] {
            assert!(service(text).is_err(), "{text}");
        }
        assert!(thing("volume", "model_data").is_ok() && thing("secret", "../etc").is_err());
    }

    #[test]
    fn users() {
        for text in ["1000", "1000:1000", "nobody", "app:app", "www-data"] {
            assert!(user(text).is_ok(), "{text}");
        }
        for text in ["", ":", "1000:", "a:b:c", "4294967296", "-x", "a b"] {
            assert!(user(text).is_err(), "{text}");
        }
    }

    #[test]
    fn capabilities_with_and_without_their_prefix() {
        assert_eq!(capability("CAP_NET_ADMIN").as_deref(), Ok("NET_ADMIN"));
        assert_eq!(capability("net_bind_service").as_deref(), Ok("NET_BIND_SERVICE"));
        let wanted = Wrong::new("\"NET_ADMN\" is not a capability").hint("did you mean `NET_ADMIN`?");
        assert_eq!(capability("NET_ADMN"), Err(wanted));
        assert!(capability("ALL").is_err());
    }

    #[test]
    fn retention_is_one_of_the_numbers_that_cloudwatch_takes() {
        assert_eq!(retention_days(30), Ok(30));
        for days in [0, -1, 31, 4000, i64::MAX] {
            assert!(retention_days(days).is_err(), "{days}");
        }
    }

    #[test]
    fn secrets_by_name_and_arn() {
        for text in [
            "algoitny-secrets",
            "prod/db",
            "rds!db-1",
            "arn:aws:secretsmanager:eu-north-1:123456789012:secret:a-x",
        ] {
            assert!(secret_id(text).is_ok(), "{text}");
        }
        for text in ["", "a b", "arn:aws:s3:::bucket", "arn:aws:secretsmanager:eu-north-1:1:secret:"] {
            assert!(secret_id(text).is_err(), "{text}");
        }
    }
}
