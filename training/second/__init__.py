"""The recipes of the second miniature. At the swap `miniature/` replaces `src/dymo/miniature`, the rest `training`."""
