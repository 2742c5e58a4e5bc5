"""Teacher and Student, their parts, and the folder a trained model is kept in."""
