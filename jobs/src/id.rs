//! The ids of jobs and of bulk operations.

base::typed_id!(
    /// One job over all its attempts.
    JobId,
    "job"
);

base::typed_id!(
    /// One bulk operation.
    OperationId,
    "op"
);
