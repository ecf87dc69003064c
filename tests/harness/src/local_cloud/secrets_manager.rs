//! Secrets Manager: GetSecretValue and DescribeSecret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{AwsError, epoch_seconds};
use super::aws;
use super::secret_store::{Secret, SecretValue};
use super::state::State;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    secret_id: String,
    version_id: Option<String>,
    version_stage: Option<String>,
}

/// Answers one operation.
pub(super) fn respond(state: &State, operation: &str, input: Value) -> Result<Value, AwsError> {
    let input: Input = aws::input(input)?;
    let found = state.secrets.find(&input.secret_id);
    let name = found.map_or(input.secret_id.as_str(), |secret| secret.name.as_str());
    let action = format!("secretsmanager:{operation}");
    if state.denies(&action, name) {
        return Err(aws::denied(&action, name));
    }
    let missing = |what: &str| AwsError::new("ResourceNotFoundException", what);
    let secret = found.ok_or_else(|| missing("Secrets Manager can't find the specified secret."))?;
    match operation {
        "DescribeSecret" => Ok(describe(secret)),
        "GetSecretValue" => {
            let version = secret.version(input.version_id.as_deref(), input.version_stage.as_deref());
            let version = version.ok_or_else(|| {
                missing("Secrets Manager can't find the specified secret value for the version asked for")
            })?;
            let mut output = json!({
                "ARN": secret.arn, "Name": secret.name, "VersionId": version.id,
                "VersionStages": version.stages, "CreatedDate": epoch_seconds(version.created),
            });
            match &version.value {
                SecretValue::Text(text) => output["SecretString"] = json!(text),
                SecretValue::Binary(bytes) => output["SecretBinary"] = json!(STANDARD.encode(bytes)),
            }
            Ok(output)
        }
        _ => Err(aws::unknown_operation(operation)),
    }
}

fn describe(secret: &Secret) -> Value {
    let versions: serde_json::Map<String, Value> = secret
        .versions
        .iter()
        .filter(|version| !version.stages.is_empty())
        .map(|version| (version.id.clone(), json!(version.stages)))
        .collect();
    let changed = secret.versions.last().map(|version| epoch_seconds(version.created));
    json!({
        "ARN": secret.arn, "Name": secret.name, "VersionIdsToStages": versions,
        "LastChangedDate": changed, "CreatedDate": secret.versions.first().map(|v| epoch_seconds(v.created)),
    })
}
