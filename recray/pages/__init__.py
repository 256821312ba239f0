"""What a viewer sees: rows with titles and reasons, without the same title twice."""
