#![doc = include_str!("../README.md")]
#![expect(missing_docs, reason = "a line that repeats a name tells nothing")]

pub mod http_client;
pub mod shares;

mod answer;
mod client;
mod failure;
mod hook;
mod resolver;
mod sender;
mod signature;
mod url_policy;

pub use answer::Answer;
pub use hook::{HOOK_ANSWER_BYTES_MAX, HookCall, HookCaller, HookError};
pub use sender::{Post, SignedPost, TOTAL_TIMEOUT, WebhookCarrier, WebhookSender};
pub use signature::{SecretError, sign};
pub use url_policy::{URL_LEN_MAX, UrlPolicy, UrlRefusal};
