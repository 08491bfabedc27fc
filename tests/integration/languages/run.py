"""One connection of an app in Python; the same job as run.php."""

import json
import sqlite3
import sys

job = json.load(sys.stdin)
db = sqlite3.connect(job["db"])
inside = False
results = []
for step in job["steps"]:
    try:
        if isinstance(step, str):
            inside = step == "begin"
            if step != "begin":  # Python begins by itself
                getattr(db, step)()
            results.append({})
            continue
        cursor = db.execute(step[0], step[1])
        rows = cursor.fetchall()
        if not inside:
            db.commit()
        results.append({"rows": rows, "changes": cursor.rowcount, "id": cursor.lastrowid})
    except sqlite3.Error as error:
        results.append({"error": str(error)})
        break
print(json.dumps(results))
