//! Whether the role may do what node.toml needs, tried so that nothing changes and nothing is kept.
//!
//! In: an image, a log group. Out: [`Outcome`]. Images are asked for under a digest that no image has, lines are put into a
//! stream that does not exist: a permission is judged before the thing is looked for, so *not found* says *allowed*.
//! Making groups and streams cannot be tried so, and is not.

use super::ecr::{Ecr, EcrRegistry};
use crate::examined::{Outcome, Unknown};
use crate::registry::RegistryError;
use aws_config::SdkConfig;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use jiff::Timestamp;
use node::cloud::failure::AwsFailure;
use node::config::settings::ImageReference;
use node::fault::Hint;

/// SHA-256 of nothing that anybody could push: all zeros.
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// No source has this name: those of services begin with a letter, those of files and units hold a dot or a slash.
const NO_STREAM: &str = "node-agent-doctor-writes-nothing";

/// Logs in, looks the image up, and asks for a manifest and a layer that are not there.
pub async fn pull(ecr: &Ecr, registry: &EcrRegistry, image: &ImageReference) -> Outcome {
    let refused =
        |error: &RegistryError| Unknown { message: error.message.clone(), remedy: error.hint.clone() };
    if let Err(error) = ecr.token(registry).await {
        return Outcome::Refused(refused(&error));
    }
    let described = ecr.describe(registry, image).await;
    if let Err(error) = &described
        && error.code != "image_not_found"
    {
        return Outcome::Refused(refused(error));
    }
    if let Err(error) = ecr.may_pull(registry, image, NO_DIGEST).await {
        return Outcome::Refused(refused(&error));
    }
    match described {
        Ok(resolved) => {
            let digest: String = resolved.digest.chars().take("sha256:".len() + 12).collect();
            Outcome::Allowed(format!("{image} is {digest}, and may be pulled"))
        }
        Err(error) => Outcome::Amiss(refused(&error)),
    }
}

/// Puts a line into a stream that does not exist.
pub async fn put_logs(config: &SdkConfig, group: &str, now: Timestamp) -> Outcome {
    let event = InputLogEvent::builder().timestamp(now.as_millisecond()).message("node-agent doctor").build();
    let Ok(event) = event else { return Outcome::NotTried("the call could not be made".to_owned()) };
    let client = aws_sdk_cloudwatchlogs::Client::new(config);
    let call = client.put_log_events().log_group_name(group).log_stream_name(NO_STREAM).log_events(event);
    match call.send().await {
        Ok(_) => Outcome::Allowed(format!("lines are taken in {group}")),
        Err(error) => of_put(&AwsFailure::of(&error), group),
    }
}

fn of_put(failure: &AwsFailure, group: &str) -> Outcome {
    match failure {
        AwsFailure::Service { code, message } if code == "ResourceNotFoundException" => {
            if message.contains("log stream") {
                return Outcome::Allowed(format!("logs:PutLogEvents to {group} is allowed"));
            }
            Outcome::Amiss(Unknown {
                message: format!("there is no log group {group} yet; the agent makes it with the first line"),
                remedy: Some(format!(
                    "if the role has no logs:CreateLogGroup: aws logs create-log-group --log-group-name {group}"
                )),
            })
        }
        AwsFailure::Denied { .. } => Outcome::Refused(Unknown {
            message: format!("logs may not be shipped to {group}: {failure}"),
            remedy: Some(failure.hint().unwrap_or_else(|| {
                "allow the instance's role logs:PutLogEvents, logs:CreateLogStream and logs:CreateLogGroup on it"
                    .to_owned()
            })),
        }),
        _ => Outcome::Refused(Unknown {
            message: format!("logs cannot be shipped to {group}: {failure}"),
            remedy: failure.hint(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_found_was_allowed() {
        let failure = |code: &str, message: &str| AwsFailure::Service {
            code: code.to_owned(),
            message: message.to_owned(),
        };
        let no_stream = failure("ResourceNotFoundException", "The specified log stream does not exist.");
        assert!(matches!(of_put(&no_stream, "/g"), Outcome::Allowed(_)));
        let no_group = failure("ResourceNotFoundException", "The specified log group does not exist.");
        assert!(matches!(of_put(&no_group, "/g"), Outcome::Amiss(_)));
        let denied =
            AwsFailure::Denied { code: "AccessDeniedException".to_owned(), message: "no".to_owned() };
        let Outcome::Refused(why) = of_put(&denied, "/g") else { panic!("refused") };
        assert!(why.remedy.is_some_and(|hint| hint.contains("logs:PutLogEvents")));
        let gone = AwsFailure::Unreachable { reason: "x".to_owned() };
        assert!(matches!(of_put(&gone, "/g"), Outcome::Refused(_)));
    }
}
