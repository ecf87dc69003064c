//! AWS as the agent uses it. Only this folder and `node::cloud` name the AWS SDK.

pub mod attempts;
pub mod ecr;
pub mod logs;
