//! ECR: authorization tokens, and DescribeImages answered from the registry
//! behind the cloud.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{AwsError, epoch_seconds};
use super::{Shared, aws, clock};
use crate::images::MANIFEST_TYPES;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    repository_name: Option<String>,
    #[serde(default)]
    image_ids: Vec<ImageId>,
    layer_digest: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageId {
    image_tag: Option<String>,
    image_digest: Option<String>,
}

/// A manifest as the registry has it.
struct Manifest {
    digest: String,
    media_type: String,
    document: Value,
}

/// Answers one operation.
pub(super) async fn respond(cloud: &Shared, operation: &str, input: Value) -> Result<Value, AwsError> {
    let input: Input = aws::input(input)?;
    let repository = input.repository_name.clone().unwrap_or_default();
    let action = format!("ecr:{operation}");
    if cloud.state().denies(&action, &repository) {
        return Err(aws::denied(&action, &repository));
    }
    match operation {
        "GetAuthorizationToken" => Ok(token(cloud)),
        "DescribeImages" => describe_images(cloud, &repository, &input.image_ids).await,
        "BatchGetImage" => batch_get_image(cloud, &repository, &input.image_ids).await,
        "GetDownloadUrlForLayer" => {
            let digest = input.layer_digest.unwrap_or_default();
            download_url(cloud, &repository, &digest).await
        }
        _ => Err(aws::unknown_operation(operation)),
    }
}

fn token(cloud: &Shared) -> Value {
    let mut state = cloud.state();
    let (password, expires) = state.registry_tokens.issue(clock::now());
    let endpoint =
        format!("https://{}.dkr.ecr.{}.amazonaws.com", state.instance.account, state.instance.region);
    let token = STANDARD.encode(format!("AWS:{password}"));
    json!({"authorizationData": [
        {"authorizationToken": token, "expiresAt": epoch_seconds(expires), "proxyEndpoint": endpoint}
    ]})
}

async fn describe_images(cloud: &Shared, repository: &str, wanted: &[ImageId]) -> Result<Value, AwsError> {
    let tags = tags_by_digest(cloud, repository).await?;
    let mut references: Vec<String> = tags.keys().cloned().collect();
    if !wanted.is_empty() {
        let reference = |id: &ImageId| id.image_digest.clone().or_else(|| id.image_tag.clone());
        references = wanted.iter().filter_map(reference).collect();
    }
    let mut details = Vec::new();
    for reference in references {
        let Some(manifest) = manifest(cloud, repository, &reference).await? else {
            let id = format!("The image with imageId {{{reference}}} does not exist");
            let message = format!("{id} within the repository with name '{repository}'");
            return Err(AwsError::new("ImageNotFoundException", message));
        };
        details.push(detail(cloud, repository, &manifest, &tags));
    }
    Ok(json!({"imageDetails": details}))
}

/// One that is not there is a failure in the answer, and no error.
async fn batch_get_image(cloud: &Shared, repository: &str, wanted: &[ImageId]) -> Result<Value, AwsError> {
    tags_by_digest(cloud, repository).await?;
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for id in wanted {
        let reference = id.image_digest.clone().or_else(|| id.image_tag.clone()).unwrap_or_default();
        let shown = json!({"imageDigest": id.image_digest, "imageTag": id.image_tag});
        match manifest(cloud, repository, &reference).await? {
            Some(manifest) => images.push(json!({
                "repositoryName": repository, "imageId": shown, "imageManifest": manifest.document.to_string(),
                "imageManifestMediaType": manifest.media_type,
            })),
            None => failures.push(json!({
                "imageId": shown, "failureCode": "ImageNotFound", "failureReason": "Requested image not found",
            })),
        }
    }
    Ok(json!({"images": images, "failures": failures}))
}

async fn download_url(cloud: &Shared, repository: &str, digest: &str) -> Result<Value, AwsError> {
    tags_by_digest(cloud, repository).await?;
    let path = format!("/v2/{repository}/blobs/{digest}");
    if backend(cloud, &path).await?.status == StatusCode::OK {
        let url = format!("{}{path}", cloud.backend.as_deref().unwrap_or_default());
        return Ok(json!({"downloadUrl": url, "layerDigest": digest}));
    }
    let message =
        format!("The layer with digest '{digest}' does not exist in the repository with name '{repository}'");
    Err(AwsError::new("LayersNotFoundException", message))
}

fn detail(
    cloud: &Shared,
    repository: &str,
    manifest: &Manifest,
    tags: &BTreeMap<String, Vec<String>>,
) -> Value {
    let mut state = cloud.state();
    let name = format!("{repository}@{}", manifest.digest);
    let pushed_at = *state.pushed_at.entry(name).or_insert_with(clock::now);
    let mut detail = json!({
        "registryId": state.instance.account, "repositoryName": repository, "imageDigest": manifest.digest,
        "imagePushedAt": epoch_seconds(pushed_at), "imageManifestMediaType": manifest.media_type,
    });
    if let Some(tags) = tags.get(&manifest.digest) {
        detail["imageTags"] = json!(tags);
    }
    // An index has no size of its own at ECR either.
    if let Some(layers) = manifest.document["layers"].as_array() {
        let size = |part: &Value| part["size"].as_u64().unwrap_or_default();
        let total = layers.iter().map(size).sum::<u64>() + size(&manifest.document["config"]);
        detail["imageSizeInBytes"] = json!(total);
    }
    detail
}

/// All tags of a repository, grouped by what they point to.
async fn tags_by_digest(cloud: &Shared, repository: &str) -> Result<BTreeMap<String, Vec<String>>, AwsError> {
    let answer = backend(cloud, &format!("/v2/{repository}/tags/list")).await?;
    if answer.status == StatusCode::NOT_FOUND {
        let account = &cloud.state().instance.account;
        let message = format!(
            "The repository with name '{repository}' does not exist in the registry with id '{account}'"
        );
        return Err(AwsError::new("RepositoryNotFoundException", message));
    }
    let mut digests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let listing = answer.json();
    for tag in listing["tags"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if let Some(manifest) = manifest(cloud, repository, tag).await? {
            digests.entry(manifest.digest).or_default().push(tag.to_owned());
        }
    }
    Ok(digests)
}

async fn manifest(cloud: &Shared, repository: &str, reference: &str) -> Result<Option<Manifest>, AwsError> {
    let answer = backend(cloud, &format!("/v2/{repository}/manifests/{reference}")).await?;
    Ok((answer.status == StatusCode::OK).then(|| Manifest {
        digest: answer.header("docker-content-digest").to_owned(),
        media_type: answer.header("content-type").to_owned(),
        document: answer.json(),
    }))
}

async fn backend(cloud: &Shared, path: &str) -> Result<crate::http::Answer, AwsError> {
    let failure = |what: String| AwsError::new("ServerException", what);
    let backend =
        cloud.backend.as_deref().ok_or_else(|| failure("there is no registry backend".to_owned()))?;
    let accept = MANIFEST_TYPES.join(", ");
    let url = format!("{backend}{path}");
    let answer = cloud.client.send("GET", &url, &[("accept", &accept)], axum::body::Body::empty()).await;
    let answer = answer.map_err(|error| failure(error.to_string()))?;
    if answer.status.is_server_error() {
        return Err(failure(format!("the registry backend answers {}", answer.status)));
    }
    Ok(answer)
}
