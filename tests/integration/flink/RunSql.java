import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/** Runs the statements of a file as Flink's SQL client would, on a cluster within this process; rows go to standard output. */
public class RunSql {
  public static void main(String[] arguments) throws Exception {
    Configuration settings = new Configuration();
    settings.setString("parallelism.default", "1");
    TableEnvironment tables = TableEnvironment.create(EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
    for (String statement : Files.readString(Path.of(arguments[0])).split(";\\s*(\n|$)")) {
      if (statement.isBlank()) continue;
      TableResult result = tables.executeSql(statement);
      if (!statement.contains("SELECT")) continue;
      try (CloseableIterator<Row> rows = result.collect()) {
        while (rows.hasNext()) System.out.println("row " + rows.next());
      }
    }
  }
}
