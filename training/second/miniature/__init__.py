"""What replaces `src/dymo/miniature`: the world, the judge and the second preference model."""
