// An edge node of the Eclipse Tahu project with one device, for a test: connects, is born, publishes what it is told to (a
// line: a number) by alias, and is born again when a host asks.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.*;
import org.eclipse.tahu.edge.EdgeClient;
import org.eclipse.tahu.edge.api.MetricHandler;
import org.eclipse.tahu.message.DefaultBdSeqManager;
import org.eclipse.tahu.message.SparkplugBPayloadEncoder;
import org.eclipse.tahu.message.model.*;
import org.eclipse.tahu.message.model.SparkplugBPayload.SparkplugBPayloadBuilder;
import org.eclipse.tahu.message.model.SparkplugBPayloadMap.SparkplugBPayloadMapBuilder;
import org.eclipse.tahu.model.MqttServerDefinition;
import org.eclipse.tahu.mqtt.*;

public class Edge implements MetricHandler, ClientCallback {
  static final EdgeNodeDescriptor node = new EdgeNodeDescriptor("tahu", "edge");
  EdgeClient client;
  long session = 0;
  int births = 0;
  volatile double level = 1.5;

  static Metric metric(String name, long alias, MetricDataType type, Object value) throws Exception {
    return new Metric.MetricBuilder(name, type, value).alias(alias).timestamp(new Date()).createMetric();
  }

  public Topic getDeathTopic() { return new Topic("spBv1.0", node, MessageType.NDEATH); }
  public byte[] getDeathPayloadBytes() throws Exception {
    Metric number = new Metric.MetricBuilder("bdSeq", MetricDataType.Int64, session).createMetric();
    return new SparkplugBPayloadEncoder().getBytes(new SparkplugBPayloadBuilder().setTimestamp(new Date()).addMetric(number).createPayload(), false);
  }
  public void publishBirthSequence() {
    try {
      births++;
      PropertySet unit = new PropertySet.PropertySetBuilder().addProperty("engUnit", new PropertyValue<>(PropertyDataType.String, "bar")).createPropertySet();
      SparkplugBPayloadMap birth = new SparkplugBPayloadMapBuilder().setTimestamp(new Date())
          .addMetric(new Metric.MetricBuilder("bdSeq", MetricDataType.Int64, session).timestamp(new Date()).createMetric())
          .addMetric(new Metric.MetricBuilder("Node Control/Rebirth", MetricDataType.Boolean, false).timestamp(new Date()).createMetric())
          .addMetric(metric("small", 1, MetricDataType.Int8, (byte) -7)).addMetric(metric("wide", 2, MetricDataType.UInt32, 4000000000L))
          .addMetric(metric("words", 3, MetricDataType.String, "on")).createPayload();
      client.publishNodeBirth(birth);
      Metric pressure = new Metric.MetricBuilder("Line/pressure", MetricDataType.Double, level).alias(10L).timestamp(new Date()).properties(unit).createMetric();
      client.publishDeviceBirth("pump", new SparkplugBPayloadBuilder().setTimestamp(new Date()).addMetric(pressure).createPayload());
      System.out.println("born " + births);
    } catch (Exception e) {
      e.printStackTrace();
    }
  }
  public boolean hasMetric(SparkplugDescriptor descriptor, String name) { return true; }

  public void messageArrived(MqttServerName s, MqttServerUrl u, MqttClientId c, String topic, org.eclipse.paho.client.mqttv3.MqttMessage message) {
    if (topic.contains("/NCMD/")) client.handleRebirthRequest(true);
  }
  public void connectionLost(MqttServerName s, MqttServerUrl u, MqttClientId c, Throwable cause) {}
  public void connectComplete(boolean again, MqttServerName s, MqttServerUrl u, MqttClientId c) {}
  public void shutdown() {}

  public static void main(String[] arguments) throws Exception {
    Edge edge = new Edge();
    MqttServerDefinition server = new MqttServerDefinition(new MqttServerName("one"), new MqttClientId("tahu-edge", false),
        new MqttServerUrl("tcp://127.0.0.1:" + arguments[0]), null, null, 30, edge.getDeathTopic());
    edge.client = new EdgeClient(edge, node, List.of("pump"), null, true, 100L, List.of(server), edge, null);
    new Thread(edge.client).start();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      edge.level = Double.parseDouble(line);
      Metric pressure = new Metric.MetricBuilder("Line/pressure", MetricDataType.Double, edge.level).timestamp(new Date()).createMetric();
      edge.client.publishDeviceData("pump", new SparkplugBPayloadBuilder().setTimestamp(new Date()).addMetric(pressure).createPayload());
      System.out.println("said " + line);
    }
    edge.client.shutdown();
    System.exit(0);
  }
}
