//! The id of a job.

base::typed_id!(
    /// One job over all its attempts.
    JobId,
    "job"
);
