<?php
// One connection of an app in PHP.  Standard input: {"db": path, "steps": [[SQL, [value, ...]] | "begin" | ...]};
// standard output: a result for each step, up to the first that failed.  See test_sql_api.py.
$job = json_decode(stream_get_contents(STDIN), true);
$db = new PDO('sqlite:' . $job['db'], null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$results = [];
foreach ($job['steps'] as $step) {
    try {
        if ($step === 'begin') {
            $db->beginTransaction();
            $results[] = [];
        } elseif ($step === 'commit') {
            $db->commit();
            $results[] = [];
        } elseif ($step === 'rollback') {
            $db->rollBack();
            $results[] = [];
        } else {
            $statement = $db->prepare($step[0]);
            $statement->execute($step[1]); // everything is bound as text
            $rows = $statement->columnCount() > 0 ? $statement->fetchAll(PDO::FETCH_NUM) : [];
            $results[] = ['rows' => $rows, 'changes' => $statement->rowCount(), 'id' => (int) $db->lastInsertId()];
        }
    } catch (PDOException $error) {
        $results[] = ['error' => $error->getMessage()];
        break;
    }
}
echo json_encode($results);
